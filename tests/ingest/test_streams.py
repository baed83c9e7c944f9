"""Streams that begin, end or move in the middle of a file: continued, in their place; else told."""

from __future__ import annotations

import shutil
import subprocess
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from corpus.ingest.relay import ALONE_S, Relay
from corpus.schemas.artifacts import PICTURE_NONE

MP2 = Fraction(481, 48_000)
PART_S = 3
BASE_S = 10
"""Stamps begin here: a muxer moves those below zero, and so part a file's streams from the next one's."""
NULLS = (b"\x47\x1f\xff\x10" + bytes(184)) * 32_000
"""6 MB of a transport stream's filling: more than libav reads to learn what a file holds."""
EACH_S = [0.3, 1.15, 2.475]


def part(
    media: ModuleType, path: Path, number: int, at_s: int, *, sound: bool = True, pictures: bool = True
) -> bytes:
    """Three seconds of a transport stream that begin at `at_s`, on the PIDs of its number."""
    audio = (
        [media.Audio("mp2", chunk=1152, stamps=lambda first: first + (BASE_S + at_s) * 48_000)]
        if sound
        else []
    )
    times = [BASE_S + at_s + Fraction(n, 25) for n in range(PART_S * 25)]
    video = media.Video("mpeg2video", rate=Fraction(25), times=times, first_number=at_s * 25)
    media.write_media(
        path,
        duration_s=PART_S,
        audio=audio,
        video=video if pictures else None,
        options={
            "mpegts_copyts": "1",
            "mpegts_start_pid": str(0x100 + 0x40 * number),
            "mpegts_pmt_start_pid": "0x1000",
            "tables_version": str(number),
        },
    )
    return path.read_bytes()


def codes(result: Any) -> set[str]:
    return {drop.code for drop in result.drops}


@pytest.mark.parametrize("filling", [b"", NULLS], ids=["seen in the head", "after the head"])
@pytest.mark.parametrize(
    "pids, clocks",
    [((0, 1), (0, 3)), ((0, 1, 2), (0, 3, 6)), ((0, 1, 0), (0, 3, 6)), ((0, 1), (5, 0))],
    ids=["moved", "moved twice", "there and back", "moved, another clock"],
)
def test_streams_that_move_go_on(
    pids: tuple[int, ...],
    clocks: tuple[int, ...],
    filling: bytes,
    media: ModuleType,
    tmp_path: Path,
    run: Any,
) -> None:
    parts = [part(media, tmp_path / "p.ts", pid, at) for pid, at in zip(pids, clocks, strict=True)]
    path = tmp_path / "x.ts"
    path.write_bytes(filling.join(parts))
    result = run(path)
    # MP2 shows its own filling first, so the pictures begin that much later.
    truth = [float(MP2) + n * PART_S + at for n in range(len(pids)) for at in EACH_S]
    lead = 0 if clocks[1] else 0.02  # who came furthest decides where another clock goes on
    assert result.chirps()[: len(EACH_S)] == pytest.approx(truth[: len(EACH_S)], abs=1e-3)
    assert result.chirps() == pytest.approx(truth, abs=1e-3 + lead)
    assert codes(result) <= {"last_partial_window"}
    assert not (result.rows["flags"] & PICTURE_NONE).any()
    if clocks[1]:
        shown = [max(0, round((window + 1) * 5 - 1)) for window in range(result.decoded.windows)]
        assert result.numbers() == shown
        assert "hole" not in result.codes() and "drift" not in result.codes()
    assert "continues" in result.codes()


@pytest.mark.parametrize("late", ["sound", "pictures"])
def test_a_stream_that_joins_late(late: str, media: ModuleType, tmp_path: Path, run: Any) -> None:
    first = part(media, tmp_path / "p.ts", 0, 0, sound=late != "sound", pictures=late != "pictures")
    second = part(media, tmp_path / "p.ts", 1, 3)
    path = tmp_path / "x.ts"
    path.write_bytes(first + NULLS + second)
    result = run(path)
    offset = Fraction(0) if late == "sound" else MP2
    first_at = [] if late == "sound" else EACH_S
    truth = [float(offset) + at for at in first_at + [PART_S + at for at in EACH_S]]
    assert result.chirps() == pytest.approx(truth, abs=1e-3)
    assert codes(result) <= {"last_partial_window"}
    if late == "pictures":
        none = (result.rows["flags"] & PICTURE_NONE).nonzero()[0].tolist()
        assert none == list(range(15))
    assert result.stream("audio").offset_us == (
        pytest.approx(PART_S * 1e6 - 10_000, abs=1500) if late == "sound" else 0
    )


def flv_tags(data: bytes) -> list[tuple[int, bytes]]:
    found, at = [], 13
    while at + 11 <= len(data):
        size = int.from_bytes(data[at + 1 : at + 4], "big") + 15
        found.append((data[at], data[at : at + size]))
        at += size
    return found


def test_flv_sound_that_is_switched_on_later(media: ModuleType, tmp_path: Path, run: Any) -> None:
    audio = media.Audio("libmp3lame", rate_hz=44_100, chunk=1152)
    video = media.Video("flv1", rate=Fraction(25))
    whole = media.write_media(tmp_path / "whole.flv", audio=[audio], video=video)
    filling = (
        b"\x12" + (100_000).to_bytes(3, "big") + bytes(7) + bytes(100_000) + (100_011).to_bytes(4, "big")
    )
    head = bytearray(whole.read_bytes()[:13])
    head[4] = 1
    late = bytes(head)
    for kind, tag in flv_tags(whole.read_bytes()):
        at_ms = int.from_bytes(tag[4:7], "big") | tag[7] << 24
        if kind == 9 or (kind == 8 and at_ms >= 2000):
            late += tag
        if kind == 9 and len(late) < 6_000_000 and 1000 < at_ms < 1100:
            late += 60 * filling
    path = tmp_path / "late.flv"
    path.write_bytes(late)
    result, control = run(path), run(whole)
    moved = control.stream("video").offset_us / 1e6  # the earliest stream is now that of the pictures
    truth = [at - moved for at in control.chirps() if at > 2.1]
    assert len(truth) == 3
    assert result.chirps() == pytest.approx(truth, abs=1e-3)
    assert codes(result) <= {"last_partial_window"}


def two_tracks(media: ModuleType, path: Path, starts_s: tuple[int, int], video: bool = False) -> Path:
    tracks = [
        media.Audio(
            "pcm_s16le", track=media.sound(48_000, 3), stamps=lambda sample, at=at: sample + at * 48_000
        )
        for at in starts_s
    ]
    media.write_media(path, duration_s=3, audio=tracks, video=media.Video() if video else None)
    return path


@pytest.mark.parametrize("suffix", ["mkv", "mov"])
@pytest.mark.parametrize("starts_s", [(0, 3), (3, 0)], ids=["in order", "the second comes first"])
def test_a_track_goes_on_in_another(
    suffix: str, starts_s: tuple[int, int], media: ModuleType, tmp_path: Path, run: Any
) -> None:
    result = run(two_tracks(media, tmp_path / f"x.{suffix}", starts_s))
    truth = [n * 3 + at for n in range(2) for at in EACH_S]
    assert result.chirps() == pytest.approx(truth, abs=1e-3)
    assert codes(result) <= {"last_partial_window"}
    assert result.decoded.duration_us == 6_000_000


def test_two_programmes_are_not_mixed(media: ModuleType, tmp_path: Path, run: Any) -> None:
    if not shutil.which("ffmpeg"):
        pytest.skip("the ffmpeg program is missing")
    one = media.write_media(
        tmp_path / "a.wav", audio=[media.Audio("pcm_s16le", track=media.sound(48_000, 6, [700_000]))]
    )
    two = media.write_media(tmp_path / "b.wav", audio=[media.Audio("pcm_s16le")])
    film = media.write_media(tmp_path / "c.mkv", video=media.Video("mpeg2video", rate=Fraction(25)))
    path = tmp_path / "x.ts"
    inputs = [option for file in (one, film, two) for option in ("-i", str(file))]
    maps = ["-map", "0:a", "-map", "1:v", "-map", "2:a", "-c:v", "copy", "-c:a", "mp2"]
    programmes = ["-program", "st=0", "-program", "st=1:st=2"]
    command = ["ffmpeg", "-v", "error", "-y", *inputs, *maps, *programmes, str(path)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    result = run(path)
    assert result.chirps() == pytest.approx([c / 1e6 + float(MP2) for c in media.CHIRPS_US], abs=1e-3)
    assert ("trim", "other_programme") in [(d.kind, d.code) for d in result.drops]


class Packet:
    """As much of a packet as the relay looks at: ticks are tenths of a second, and it lasts one."""

    def __init__(self, at: int) -> None:
        self.pts = self.dts = at
        self.duration, self.size = 1, 100


def relayed(order: list[tuple[int, int]], leaders: dict[int, bool], *, restart: bool = False) -> list[Any]:
    """(track, stream, stamp) of what is decoded when packets (stream, stamp) come in this order."""
    relay = Relay(leaders, may_restart=restart)
    steps = []
    for stream, at in order:
        packet: Any = Packet(at)
        steps += list(relay.take(stream, packet, (at * 0.1, at * 0.1 + 0.1), may_lead=True))
    steps += list(relay.finish())
    return [(s.track, s.stream, s.packet.pts) for s in steps]


def test_a_stream_beside_another_is_never_taken() -> None:
    order = [(stream, at) for at in range(200) for stream in ((0, 1) if at < 100 else (1,))]
    assert relayed(order, {0: True}) == [(0, 0, at) for at in range(100)]


def test_a_stream_follows_once_it_has_gone_on_alone() -> None:
    order = [(0, at) for at in range(50)] + [(1, at) for at in range(50, 150)]
    assert relayed(order, {0: True}) == [(0, *pair) for pair in order]
    assert ALONE_S * 10 < 100


def test_of_two_tracks_that_end_each_is_followed() -> None:
    order = [(stream, at) for at in range(60) for stream in (0, 1)]
    order += [(stream, at) for at in range(60, 160) for stream in (2, 3)]
    tracks = {stream: track for track, stream, _ in relayed(order, {0: True, 1: True})}
    assert tracks == {0: 0, 1: 1, 2: 0, 3: 1}


def test_another_clock_only_where_it_may_be() -> None:
    order = [(0, 1000 + at) for at in range(50)] + [(1, at) for at in range(100)]
    assert [s for _, s, _ in relayed(order, {0: True}, restart=True)].count(1) == 100
    assert [s for _, s, _ in relayed(order, {0: True})].count(1) == 0
