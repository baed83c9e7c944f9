"""Turns of speakers who have channels of their own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from corpus.align.channels_vad import open_channels_vad
from corpus.schemas.artifacts import Segment
from corpus.schemas.conversation import Turn
from corpus.schemas.errors import CorpusError
from corpus.schemas.pcm import Pcm
from corpus.schemas.settings import DiarizeSettings
from corpus.schemas.span import intersect, union

pytest.importorskip("faster_whisper")


def test_turns_carry_the_channels_speaker(sample_pcm: Pcm, sample_turns: list[Turn], tmp_path: Path) -> None:
    """The call in the second channel, 10 s late; the first is silent."""
    call = sample_pcm.read(0, 0, sample_pcm.stop_sample)
    hiss = np.random.default_rng(2).integers(-4, 5, 160_000, dtype=np.int16)
    late = np.concatenate([hiss, call])
    late.tofile(tmp_path / "channel-1.i16")
    np.zeros_like(late).tofile(tmp_path / "channel-0.i16")
    pcm = Pcm(tmp_path, 2, [Segment(first_window=0, windows=len(late) // 3200)], 16_000)
    turns, drops = open_channels_vad(DiarizeSettings(), ["quiet", "call"])(pcm)
    assert drops == []
    assert {turn.speaker for turn in turns} == {"call"}
    found = union(turn.span for turn in turns)
    truth = union(turn.span.shift(10_000_000) for turn in sample_turns)
    shared, said, heard = (
        sum(span.duration_us for span in spans) for spans in (intersect(found, truth), truth, found)
    )
    # missed and false speech together, of the speech there is
    assert (said - shared + heard - shared) / said < 0.05
    assert turns == sorted(turns, key=lambda turn: turn.start_us)


def test_channels_and_speakers_must_agree(tmp_path: Path) -> None:
    np.zeros(3200, np.int16).tofile(tmp_path / "channel-0.i16")
    pcm = Pcm(tmp_path, 1, [Segment(first_window=0, windows=1)], 16_000)
    with pytest.raises(CorpusError, match="1 channels cannot hold 2 speakers"):
        open_channels_vad(DiarizeSettings(), ["A", "B"])(pcm)
    assert open_channels_vad(DiarizeSettings(), ["A"])(pcm) == ([], [])
