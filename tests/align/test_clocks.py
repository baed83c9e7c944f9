"""Clocks that run apart: who is corrected, and that afterwards the sound stands where it was said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from corpus.align import clocks
from corpus.align.clocks import Pace, on_one_clock, paces, reference_of
from corpus.align.crosstalk import Heard
from corpus.schemas.artifacts import ChannelSpan, Decoded, Segment
from corpus.schemas.pcm import Pcm
from corpus.schemas.recording import Stream
from corpus.schemas.span import Span
from tests.align.test_crosstalk import RATE, pcm_of, talk


def stream(kind: str, file: int, *, chosen: bool = True) -> Stream:
    return Stream(
        kind=kind,
        index=0,
        file=file,
        codec="x",
        rate="1",
        offset_us=0,
        duration_us=1,
        chosen=chosen,  # type: ignore[arg-type]
    )


def head(windows: int, channels: int, streams: tuple[Stream, ...] = ()) -> Decoded:
    return Decoded(
        duration_us=windows * 200_000,
        sample_rate_hz=RATE,
        segments=(Segment(first_window=0, windows=windows),),
        channels=tuple("ABC"[:channels]),
        streams=streams,
    )


def test_only_files_of_their_own_have_clocks_of_their_own() -> None:
    audio = (stream("audio", 0), stream("audio", 1), stream("audio", 1, chosen=False))
    assert reference_of(head(5, 2, audio)) == 0
    # the picture's file keeps its clock
    assert reference_of(head(5, 2, (*audio, stream("video", 1)))) == 1
    assert reference_of(head(5, 2, (*audio, stream("video", 2)))) == 0
    assert reference_of(head(5, 2, (stream("audio", 0), stream("audio", 0)))) is None
    assert reference_of(head(5, 1, (stream("audio", 0),))) is None
    assert reference_of(replace(head(5, 2, audio), channels=(None,))) is None


def drifted(sound: np.ndarray, ppm: float) -> np.ndarray:
    """As a recorder takes it down that counts `ppm` too many; sines alone, so that interpolation is exact."""
    times = np.arange(len(sound)) / (1 + ppm * 1e-6)
    return np.interp(times, np.arange(len(sound)), sound, left=0.0, right=0.0)


def test_paces_are_found_whoever_hears_whom_and_through_a_third(tmp_path: Path) -> None:
    """B hears A, C hears B: each clock against A's within 5 millionths."""
    a, b = talk(120), np.roll(talk(120), 5 * RATE)[::-1].copy()
    noise = np.random.default_rng(3).standard_normal((3, len(a))) * 5
    pcm = pcm_of(
        tmp_path,
        a + noise[0],
        0.1 * drifted(a, 50) + drifted(b, 50) + noise[1],
        0.1 * drifted(b, -30) + noise[2],
    )
    all_of_it = [Span(0, 120_000_000)]
    gain = np.array([[0, 0, 0], [0.01, 0, 0], [0, 0.01, 0]])
    heard = Heard([all_of_it] * 3, gain)
    for reference, expected in ((0, {1: 50, 2: -30}), (1, {0: -50, 2: -80})):
        found = paces(pcm, heard, reference)
        assert {pace.channel for pace in found} == set(expected)
        for pace in found:
            assert abs(pace.ppm - expected[pace.channel]) <= 5
            assert pace.corrected
    assert paces(pcm, Heard([all_of_it] * 3, np.zeros((3, 3))), 0) == []


@pytest.mark.parametrize(
    ("ppm", "error", "corrected"),
    [(50.0, 1.0, True), (-50.0, 2.5, True), (4.9, 0.1, False), (50.0, 2.6, False), (600.0, 1.0, False)],
)
def test_only_what_is_sure_is_corrected(ppm: float, error: float, corrected: bool) -> None:
    assert Pace(channel=1, ppm=ppm, error_ppm=error).corrected == corrected


@pytest.mark.parametrize("ppm", [50.0, -50.0])
def test_a_corrected_channel_is_what_one_clock_would_have_taken_down(ppm: float, tmp_path: Path) -> None:
    """Sines have a truth at every time; the tenth of a millisecond of the last second must be right."""
    seconds = 130
    times = np.arange(seconds * RATE) / RATE

    def sound(at: np.ndarray) -> np.ndarray:
        return sum(1500 * np.sin(2 * np.pi * hz * at + hz) for hz in (101.3, 977.7, 3301.1, 5903.9))

    folder = tmp_path / "decode"
    folder.mkdir()
    pcm_of(folder, sound(times), sound(times / (1 + ppm * 1e-6)))
    decoded = head(seconds * 5, 2)
    decoded = replace(decoded, saturated=(ChannelSpan(channel=1, start_us=100_005_000, stop_us=100_205_000),))
    out = tmp_path / "out"
    out.mkdir()
    made = on_one_clock(decoded, folder, [Pace(channel=1, ppm=ppm, error_ppm=0.2)], out)
    assert sorted(path.name for path in out.iterdir()) == ["channel-1.i16"]
    found = np.fromfile(out / "channel-1.i16", "<i2")
    assert len(found) == seconds * RATE
    inside = slice(100, int(seconds * RATE * (1 - 1e-4)) - 100)
    # one rounding where the sound was taken down, one here, and the sinc's own error
    assert np.abs(found[inside] - sound(times)[inside]).max() <= 2.0
    assert [oddity.code for oddity in made.oddities] == ["clock_corrected"]
    assert made.saturated[0].start_us == round(100_005_000 / (1 + ppm * 1e-6))
    if ppm > 0:
        assert not found[-int(seconds * RATE * ppm * 1e-6) + clocks.TAPS :].any()


def test_holes_stay_where_they_are(tmp_path: Path) -> None:
    (tmp_path / "decode").mkdir()
    pcm_of(tmp_path / "decode", talk(10), talk(10))
    segments = (Segment(first_window=0, windows=20), Segment(first_window=100, windows=30))
    decoded = replace(head(50, 2), segments=segments, duration_us=26_000_000)
    (tmp_path / "out").mkdir()
    on_one_clock(decoded, tmp_path / "decode", [Pace(channel=0, ppm=60.0, error_ppm=0.1)], tmp_path / "out")
    found = np.fromfile(tmp_path / "out" / "channel-0.i16", "<i2")
    assert len(found) == 10 * RATE
    before = Pcm(tmp_path / "decode", 2, segments, RATE)
    # 60 millionths at 20 s are 19 samples: the sound after the hole comes so much earlier
    # 25 s: 24 samples, and a hundredth of one within the next 200
    later = before.read(0, 25 * RATE + 24, 25 * RATE + 24 + 16)
    assert np.abs(found[9 * RATE : 9 * RATE + 16].astype(int) - later).max() <= 8
    assert np.abs(later).max() > 1000
