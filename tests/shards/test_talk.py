"""Who talks in which frame, against the rule spelled out slowly; and clips with frames of 12.5 ms."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus.schemas.activity import OVERLAP, PADDED, SPEECH, UNRELIABLE
from corpus.schemas.conversation import Turn
from corpus.schemas.settings import Settings
from corpus.shards.read import open_clips
from corpus.shards.talk import finer_flags, talk_flags
from corpus.shards.verify import verify_dataset
from corpus.shards.write import write_dataset

SPANS = st.tuples(st.integers(0, 1_400_000), st.integers(0, 60_000))


@given(
    talk=st.lists(st.tuples(st.sampled_from("AB"), SPANS), max_size=6),
    first=st.integers(0, 3),
    frames=st.sampled_from([8, 16]),
)
def test_flags_follow_the_rule(talk: list[tuple[str, tuple[int, int]]], first: int, frames: int) -> None:
    turns = [Turn(speaker=who, start_us=start, stop_us=start + long) for who, (start, long) in talk]
    got = talk_flags(turns, ("A", "B"), first * 200_000, 2, frames)
    frame_us = 200_000 // frames
    for place in range(2 * frames):
        start = first * 200_000 + place * frame_us
        talking = [_covered_us(turns, who, start, start + frame_us) * 2 >= frame_us for who in "AB"]
        for channel, own in enumerate([*talking, False]):
            expected = (SPEECH if own else 0) | (OVERLAP if own and all(talking) else 0)
            assert got[channel, place // frames, place % frames] == expected


def _covered_us(turns: list[Turn], who: str, start: int, stop: int) -> int:
    """Microsecond by microsecond, at the edges where anything can change."""
    edges = sorted({start, stop, *(e for t in turns for e in (t.start_us, t.stop_us) if start < e < stop)})
    return sum(
        b - a
        for a, b in pairwise(edges)
        if any(t.speaker == who and t.start_us <= a and b <= t.stop_us for t in turns)
    )


def test_other_flags_are_kept_on_finer_frames() -> None:
    flags = np.zeros((2, 1, 8), np.uint8)
    flags[0, 0, 3] = SPEECH | OVERLAP | UNRELIABLE
    flags[1, 0, 7] = PADDED
    fine = finer_flags(flags, np.zeros((2, 1, 16), np.uint8))
    assert fine[0, 0].tolist() == [0] * 6 + [UNRELIABLE] * 2 + [0] * 8
    assert fine[1, 0].tolist() == [0] * 14 + [PADDED] * 2


@pytest.mark.parametrize("rate", [16000, 24000])
def test_clips_with_frames_of_12_ms_and_a_half_are_whole(
    cut_recording: Callable[..., tuple[object, list[object]]],
    small_settings: Settings,
    tmp_path: Path,
    rate: int,
) -> None:
    ref, _ = cut_recording(frames=16, rate=rate)
    write_dataset(tmp_path / "OUT", [ref], settings=small_settings, config="c")  # type: ignore[list-item]
    assert verify_dataset(tmp_path / "OUT").problems == ()
    clip = open_clips(tmp_path / "OUT")[0]
    assert clip.json.frames_per_window == 16
    assert clip.mel().shape == (3, 10, 16, 80)
    assert clip.activity().shape == (3, 10, 16)
