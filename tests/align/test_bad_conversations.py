"""Conversations that lack something or are odd: labels are withheld with a reason, never guessed."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from corpus.align.cues.files import read_marks, without_cues
from corpus.align.label import labelled
from corpus.schemas.conversation import CUE_KINDS, Conversation
from corpus.schemas.settings import CueSettings

LEXICAL = {"hesitation", "self_correction", "invitation", "thinking"}
OF_TURNS = {"yield", "hold", "overlap", "interruption", "backchannel"}
SENTENCE = "so we need the button the red button um what do you think about that then you know"


def talk(**changes: Any) -> dict[str, Any]:
    """Ann says a sentence, Ben one after it; both again."""
    words, turns = [], []
    at_us = 1_000_000
    for who in ("Ann", "Ben", "Ann", "Ben"):
        start_us = at_us
        for text in SENTENCE.split():
            words.append({"speaker": who, "start_us": at_us, "stop_us": at_us + 250_000, "text": text})
            at_us += 250_000
        turns.append({"speaker": who, "start_us": start_us, "stop_us": at_us})
        at_us += 400_000
    whole = {
        "schema": "corpus.conversation/1",
        "recording": "talk",
        "duration_us": at_us + 2_000_000,
        "speakers": ["Ann", "Ben"],
        "turns": turns,
        "words": words,
    }
    return {**whole, **changes}


def labels_of(tmp_path: Path, plain: dict[str, Any]) -> Conversation:
    """As `corpus label` reads and labels a file."""
    path = tmp_path / "talk.json"
    path.write_text(json.dumps(plain), encoding="utf-8")
    annotation, duration_us, _ = read_marks(path)
    made = labelled(without_cues(path, annotation, duration_us), CueSettings())
    assert [each.label for each in made.labels_made] == list(CUE_KINDS)
    assert all(bool(each.reason) != each.made for each in made.labels_made)
    looked = {each.label for each in made.labels_made if each.made}
    assert {cue.label for cue in made.cues} <= looked
    assert all(0 <= cue.start_us <= cue.stop_us <= duration_us for cue in made.cues)
    assert all(0 <= answer.start_us < answer.stop_us <= duration_us for answer in made.answers)
    return made


def reasons(made: Conversation) -> dict[str, str]:
    return {each.label: each.reason for each in made.labels_made if not each.made}


def test_a_sound_conversation_has_all_but_the_visual(tmp_path: Path) -> None:
    made = labels_of(tmp_path, talk())
    assert reasons(made).keys() == {"visual"}
    assert {"hesitation", "self_correction", "yield", "invitation"} <= {cue.label for cue in made.cues}


def test_words_without_times(tmp_path: Path) -> None:
    words = [{"speaker": w["speaker"], "text": w["text"]} for w in talk()["words"]]
    made = labels_of(tmp_path, talk(words=words))
    assert {cue.label for cue in made.cues} <= OF_TURNS
    assert all("no times" in reasons(made)[label] for label in LEXICAL)


def test_turns_without_words(tmp_path: Path) -> None:
    made = labels_of(tmp_path, talk(words=[]))
    assert "yield" in {cue.label for cue in made.cues} <= OF_TURNS
    assert all(reasons(made)[label] == "there are no words" for label in LEXICAL)


def test_speakers_without_turns(tmp_path: Path) -> None:
    silent = labels_of(tmp_path, talk(turns=[], words=[]))
    assert silent.cues == () and reasons(silent).keys() == set(CUE_KINDS)
    assert silent.speakers == ("Ann", "Ben")
    listening = labels_of(tmp_path, talk(speakers=["Ann", "Ben", "Cy"]))
    assert {cue.speaker for cue in listening.cues} <= {"Ann", "Ben"}


def test_one_speaker(tmp_path: Path) -> None:
    whole = talk()
    alone = {name: [one for one in whole[name] if one["speaker"] == "Ann"] for name in ("turns", "words")}
    made = labels_of(tmp_path, talk(speakers=["Ann"], **alone))
    assert {"yield", "overlap", "interruption", "backchannel", "invitation"} <= reasons(made).keys()
    assert "self_correction" in {cue.label for cue in made.cues}


def test_a_turn_of_ten_thousand_words_takes_as_long_as_many_short_ones(tmp_path: Path) -> None:
    def monologue(turns: int) -> dict[str, Any]:
        texts = (SENTENCE.split() * 600)[:10_000]
        words = [
            {"speaker": "Ann", "start_us": n * 250_000, "stop_us": (n + 1) * 250_000, "text": text}
            for n, text in enumerate(texts)
        ]
        step = len(words) // turns
        spans = [
            {
                "speaker": "Ann",
                "start_us": words[n]["start_us"],
                "stop_us": words[n + step - 1]["stop_us"] - gap,
            }
            for gap in (0 if turns == 1 else 250_000,)
            for n in range(0, len(words), step)
        ]
        ben = {"speaker": "Ben", "start_us": 2_501_000_000, "stop_us": 2_503_000_000}
        return talk(duration_us=2_600_000_000, turns=[*spans, ben], words=words)

    def seconds(turns: int) -> float:
        began = time.process_time()
        made = labels_of(tmp_path, monologue(turns))
        assert "self_correction" in {cue.label for cue in made.cues}
        return time.process_time() - began

    seconds(100)
    assert seconds(1) < 4 * seconds(100)


def test_times_past_the_end_are_reported_and_make_no_cue(tmp_path: Path) -> None:
    whole = talk()
    end_us = whole["turns"][1]["stop_us"] - 100_000  # inside Ben's first sentence
    path = tmp_path / "late.json"
    path.write_text(json.dumps({**whole, "duration_us": end_us}), encoding="utf-8")
    _, _, drops = read_marks(path)
    assert drops
    labels_of(tmp_path, {**whole, "duration_us": end_us})


@pytest.mark.parametrize(
    "text",
    [
        "wir haben das gestern schon einmal gemacht und es war gar nicht schlecht",
        "nous avons déjà fait cela hier et ce n'était pas mal du tout",
        "私たちは 昨日 もう 一度 それを しました そして 悪く なかった です",
        "мы уже делали это вчера и было совсем не плохо да",
    ],
)
def test_words_of_other_languages_are_left_alone(tmp_path: Path, text: str) -> None:
    whole = talk()
    texts = (text.split() * 20)[: len(whole["words"])]
    words = [{**word, "text": texts[place]} for place, word in enumerate(whole["words"])]
    made = labels_of(tmp_path, {**whole, "words": words})
    assert all("not English" in reasons(made)[label] for label in LEXICAL)
    assert "yield" in {cue.label for cue in made.cues} <= OF_TURNS
    assert all(cue.kind != "lexical" for cue in made.cues)


def test_nothing_at_all(tmp_path: Path) -> None:
    made = labels_of(tmp_path, talk(speakers=[], turns=[], words=[]))
    assert made.cues == made.answers == () and reasons(made).keys() == set(CUE_KINDS)
    empty = replace(made, duration_us=0)
    assert labelled(replace(empty, labels_made=()), CueSettings()).cues == ()
