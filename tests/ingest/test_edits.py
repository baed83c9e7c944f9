"""Edit lists of QuickTime: exact where they cut the start or delay it, reported where they join parts."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from corpus.ingest.edits import Edits, edits_of

Entries = list[tuple[float, float | None]]
"""Seconds and where in the media they begin; None is empty."""


def boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        yield data[at + 4 : at + 8], data[at + 8 : at + length]
        at += length


def box(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", len(content) + 8, name) + content


def edited(data: bytes, entries: Entries) -> bytes:
    """The film under another edit list, the same for all its tracks; its `moov` comes last."""
    return b"".join(box(k, _moov(v, entries) if k == b"moov" else v) for k, v in boxes(data))


def _moov(content: bytes, entries: Entries) -> bytes:
    movie_hz = struct.unpack(">I", dict(boxes(content))[b"mvhd"][12:16])[0]
    parts = boxes(content)
    return b"".join(box(k, _track(v, movie_hz, entries) if k == b"trak" else v) for k, v in parts)


def _track(content: bytes, movie_hz: int, entries: Entries) -> bytes:
    inside = dict(boxes(content))
    media_hz = struct.unpack(">I", dict(boxes(inside[b"mdia"]))[b"mdhd"][12:16])[0]
    rows = [
        struct.pack(">IiI", round(s * movie_hz), -1 if at is None else round(at * media_hz), 0x10000)
        for s, at in entries
    ]
    edts = box(b"edts", box(b"elst", struct.pack(">II", 0, len(rows)) + b"".join(rows)))
    rest = ((k, v) for k, v in boxes(content) if k != b"edts")
    return b"".join((edts if k == b"mdia" else b"") + box(k, v) for k, v in rest)


@pytest.fixture(scope="module")
def film(media: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("film") / "x.mov"
    media.write_media(
        path, duration_s=5, audio=[media.Audio("pcm_s16le")], video=media.Video("mjpeg", pix_fmt="yuvj420p")
    )
    return Path(path).read_bytes()


@pytest.mark.parametrize(
    ("entries", "chirps"),
    [
        ([(5, 0)], [0.3, 1.15, 2.475, 3.31, 4.62]),
        ([(4, 1)], [0.15, 1.475, 2.31, 3.62]),
        # Everything waits alike, so that zero is where it begins.
        ([(0.5, None), (5, 0)], [0.3, 1.15, 2.475, 3.31, 4.62]),
    ],
)
def test_cuts_and_delays_are_exact(
    entries: Entries, chirps: list[float], film: bytes, tmp_path: Path, run: Any
) -> None:
    path = tmp_path / "x.mov"
    path.write_bytes(edited(film, entries))
    result = run(path)
    assert result.chirps() == pytest.approx(chirps, abs=1e-3)
    assert not result.codes() & {"edits", "hole"}
    assert {d.code for d in result.drops} <= {"last_partial_window"}


def test_joins_are_reported(film: bytes, tmp_path: Path, run: Any) -> None:
    path = tmp_path / "x.mov"
    path.write_bytes(edited(film, [(2, 0), (2, 3)]))
    result = run(path)
    # Behind the join, up to a packet of 1024 samples is left out.
    assert result.chirps()[:2] == pytest.approx([0.3, 1.15], abs=1e-3)
    late = [2.31 - at for at in result.chirps()[2:3]]
    assert 0 <= late[0] <= 1024 / 48_000
    assert "edits" in result.codes() and not [d for d in result.drops if d.kind == "fault"]


@pytest.mark.parametrize("entries", [[(2, 0), (1, None), (2, 2)], [(4, 0), (1, None)]])
def test_nothing_behind_the_start_is_a_fault(entries: Entries, film: bytes, tmp_path: Path, run: Any) -> None:
    path = tmp_path / "x.mov"
    path.write_bytes(edited(film, entries))
    (drop,) = [d for d in run(path).drops if d.kind == "fault"]
    assert drop.code == "empty_edit" and "1.000 s empty" in drop.reason


def test_edits_without_length_hide_nothing_in_silence(film: bytes, tmp_path: Path, run: Any) -> None:
    path = tmp_path / "x.mov"
    path.write_bytes(edited(film, [(0, 1)]))
    (drop,) = [d for d in run(path).drops if d.kind == "fault"]
    assert drop.code == "hidden_by_edits" and "5.0" in drop.reason


def test_in_fragments_an_edit_without_length_is_none(film: bytes) -> None:
    whole = edited(film, [(0, 1)])
    moov = whole[whole.rindex(b"moov") - 4 :]
    assert edits_of(lambda at, n: moov[at : at + n]).hidden_s == pytest.approx(5, abs=0.05)
    pieces = dict(boxes(moov))[b"moov"] + box(b"mvex", b"")
    fragmented = box(b"moov", pieces)
    assert edits_of(lambda at, n: fragmented[at : at + n]) == Edits()


@pytest.mark.parametrize("size", [0, 7, 8, 40, 500, 2000])
def test_any_bytes_have_some_edits_or_none(size: int, film: bytes) -> None:
    whole = edited(film, [(2, 0), (2, 3)])
    moov = whole[whole.rindex(b"moov") - 4 :]
    for cut in (moov[:size], moov[:size] + b"\xff" * 600):
        assert edits_of(lambda at, n, cut=cut: cut[at : at + n]).joins <= 1  # type: ignore[misc]
    assert edits_of(lambda at, n: moov[at : at + n]) == Edits(joins=1)
