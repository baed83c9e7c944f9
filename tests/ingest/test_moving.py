"""Frames in order of presentation, whatever their stamps."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from corpus.ingest.clocks import StreamClock
from corpus.ingest.moving import PictureTrack
from corpus.ingest.timeline import Restarts


@dataclass
class Frame:
    """As much of a frame as the track looks at; ticks are milliseconds."""

    pts: int | None
    dts: int | None = None
    duration: int = 40


class Picks:
    """Keeps what a picker is told."""

    def __init__(self) -> None:
        self.times_us: list[int] = []
        self.end_us = -1

    def push(self, frame: Frame, time_us: int, aspect: Fraction) -> None:
        self.times_us.append(time_us)

    def finish(self, end_us: int) -> None:
        self.end_us = end_us


def follow(stamps: list[int | None], zero_ms: int = 0) -> tuple[list[int], PictureTrack]:
    """Milliseconds at which the frames are presented, and the track."""
    picks: Any = Picks()
    track = PictureTrack(
        picks,
        (),
        StreamClock(Fraction(1, 1000), Fraction(zero_ms, 1000), Restarts(), 0),
        nominal=Fraction(1, 25),
        longest_gap_us=10_000_000,
    )
    for stamp in stamps:
        track.push(Frame(stamp), Fraction(1))  # type: ignore[arg-type]
    track.finish()
    assert picks.end_us == track.end_us
    return [t // 1000 for t in picks.times_us], track


STEADY = [n * 40 for n in range(100)]


def test_steady() -> None:
    times, track = follow(list(STEADY))
    assert times == STEADY
    assert (track.first_us, track.end_us) == (0, 4_000_000)
    assert track.spans_us == [[0, 4_000_000]]


def test_zero_is_taken_off() -> None:
    assert follow(list(STEADY), zero_ms=-70)[0] == [t + 70 for t in STEADY]


def test_a_frame_stamped_before_its_forerunner_is_left_out() -> None:
    stamps: list[int | None] = [*STEADY[:10], 300, *STEADY[11:]]
    times, track = follow(stamps)
    assert times == [t for t in STEADY if t != 400]
    assert track.out_of_order == 1


def test_a_wild_stamp_goes_on_by_duration() -> None:
    for wild in (-90_000, 90_000, 10**12):
        times, track = follow([*STEADY[:10], wild, *STEADY[11:]])
        assert times == STEADY
        assert track.wild_stamps == 1 and not track.restarts_us


def test_a_missing_stamp_goes_on_by_duration() -> None:
    assert follow([*STEADY[:10], None, *STEADY[11:]])[0] == STEADY


def test_a_jump_back_is_a_restart() -> None:
    times, track = follow([*STEADY, *STEADY])
    assert times == [n * 40 for n in range(200)]
    assert track.restarts_us == [4_000_000]


def test_a_jump_forward_is_a_hole() -> None:
    times, track = follow([*STEADY, *(t + 60_000 for t in STEADY)])
    assert times == [*STEADY, *(t + 60_000 for t in STEADY)]
    assert track.holes_us == [(3_960_000, 60_000_000)]
    assert track.spans_us == [[0, 4_000_000], [60_000_000, 64_000_000]]
