"""Separated voices through to a dataset: verify finds nothing, flags and figures stand in the clips."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from corpus.align.separate.apply import Separating
from corpus.align.voices import split_voices
from corpus.pipeline.assemble import Draft, assemble
from corpus.schemas.recording import Recording, SourceFile
from corpus.schemas.settings import ClipSettings
from corpus.shards import open_clips
from corpus.shards.cut import Material, cut
from corpus.shards.verify import verify_dataset
from corpus.shards.write import SegmentRef, write_dataset
from tests.align.separate.made_talk import LIVELY, made_talk, words_of
from tests.align.separate.networks import by_filter, of
from tests.shards.conftest import SMALL


def test_a_dataset_with_separated_voices_verifies(tmp_path: Path) -> None:
    talk = made_talk(tmp_path / "decode", LIVELY)
    sha256 = hashlib.sha256(b"talk").hexdigest()
    draft = Draft(
        recording=sha256,
        duration_us=talk.decoded.duration_us,
        turns=tuple(talk.turns),
        speakers=("A", "B"),
    )
    conversation, _ = assemble("talk.wav", draft)
    (tmp_path / "voices").mkdir()
    given = Separating(of(by_filter), words_of, "made")
    voices, _ = split_voices(
        talk.decoded, talk.folder, conversation.turns, conversation.speakers, tmp_path / "voices", given
    )
    recording = Recording(
        hash=sha256,
        uri="talk.wav",
        files=(SourceFile(uri="talk.wav", sha256=sha256, bytes=1),),
        streams=(),
        duration_us=talk.decoded.duration_us,
    )
    (tmp_path / "cut").mkdir()
    material = Material(
        recording=recording,
        conversation=conversation,
        decoded=talk.decoded,
        decode_dir=talk.folder,
        voices=voices,
        voices_dir=tmp_path / "voices",
    )
    settings = ClipSettings(windows_per_clip=50)
    cut(material, tmp_path / "cut", split="train", settings=settings, config="c" * 64)
    ref = SegmentRef(folder=tmp_path / "cut", recording=sha256, split="train", digest="d" * 64)
    write_dataset(tmp_path / "out", [ref], settings=SMALL, config="c" * 64)
    assert not verify_dataset(tmp_path / "out").problems
    clips = list(open_clips(tmp_path / "out"))
    assert {clip.json.separation for clip in clips} == {voices.separation}
    assert voices.separation is not None and voices.separation.accepted
    flags = np.concatenate([clip.activity() for clip in clips], axis=1)
    # 4.5 s of overlap in frames of 25 ms, in both channels and the room
    assert [int((row & 4 > 0).sum()) for row in flags] == [180, 180, 180]
