"""Datasets and conversations that earlier versions wrote still read, with nothing lost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from corpus.align.sidecars import read_sidecars
from corpus.schemas.clip import clip_key, parse_clip_key
from corpus.schemas.codec import from_json, to_json
from corpus.schemas.conversation import Conversation
from corpus.schemas.errors import FormatError
from corpus.schemas.older import cue_from_1
from corpus.shards.read import open_clips
from corpus.shards.verify import verify_dataset

FIXTURES = Path(__file__).parents[1] / "fixtures"
CONVERSATION = FIXTURES / "conversation-1.json"
DATASET = FIXTURES / "dataset-1"


def test_a_conversation_of_the_first_form_reads() -> None:
    plain = json.loads(CONVERSATION.read_text())
    read = from_json(Conversation, CONVERSATION.read_bytes())
    assert plain["schema"] == "corpus.conversation/1" and read.schema == "corpus.conversation/2"
    for name in ("turns", "words", "cues", "events"):
        assert [item["id"] for item in plain[name]] == [item.id for item in getattr(read, name)]
    for before, cue in zip(plain["cues"], read.cues, strict=True):
        told = json.loads(before["evidence"])
        kept = json.loads(cue.evidence) | json.loads(cue.thresholds)
        partner = told.get("to") or told.get("of") or told.get("with")
        assert partner == cue.partner
        assert kept == {name: value for name, value in told.items() if name not in ("to", "of", "with")}
    assert {cue.partner for cue in read.cues} > {None}
    assert from_json(Conversation, to_json(read)) == read


def test_it_is_read_beside_a_recording(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_bytes(CONVERSATION.read_bytes())
    read = from_json(Conversation, CONVERSATION.read_bytes())
    found, drops = read_sidecars([tmp_path / "x.json"], read.duration_us)
    assert (found.turns, found.words, found.cues, drops) == (read.turns, read.words, read.cues, [])


def test_a_dataset_of_the_first_form_reads() -> None:
    clips = open_clips(DATASET)
    assert len(clips) == 3
    for clip in clips:
        plain = json.loads(clip.json_bytes)
        assert plain["schema"] == "corpus.clip/1" and clip.json.schema == "corpus.clip/3"
        assert [cue["id"] for cue in plain["cues"]] == [cue.id for cue in clip.json.cues]
        assert (clip.json.answers, clip.json.labels_made, clip.json.separation) == ((), (), None)
        assert clip.audio().shape[1] == clip.json.windows * 3200
    assert verify_dataset(DATASET).problems == ()


def test_a_form_nobody_wrote_does_not_read() -> None:
    text = CONVERSATION.read_text().replace("corpus.conversation/1", "corpus.conversation/0")
    with pytest.raises(FormatError, match="conversation/0"):
        from_json(Conversation, text)


@pytest.mark.parametrize("evidence", ["[]", "not json", "[" * 100_000, None, 3])
def test_evidence_that_is_no_object_stays(evidence: object) -> None:
    assert cue_from_1({"evidence": evidence}) == {"evidence": evidence}


def test_keys_of_clips() -> None:
    assert parse_clip_key(clip_key("ab" * 32, 150)) == ("ab" * 10, 150)
    for wrong in (
        "",
        "../x",
        clip_key("ab" * 32, 150) + "0",
        clip_key("AB" * 32, 1),
        "ab" * 10 + "-000000\n",
    ):
        with pytest.raises(ValueError, match="not a clip's key"):
            parse_clip_key(wrong)
