"""The edit lists of QuickTime and MP4: which part of each track's media the film shows, and when.

libav applies them exactly if a list only delays its track and trims start and end. After a join it begins
with the first whole packet and places it too early, and it fills an empty edit with the film's beginning. So
a film with joins is read by its media's stamps (`ignore_editlist`), and `film.py` and `cutter.py` apply the
lists.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction

_ReadAt = Callable[[int, int], bytes]
"""(place, size) -> the bytes there, fewer at the end."""

_MOST_BOXES = 10_000
_MOST_EDITS = 100_000
_MOST_HEAD_BYTES = 64 << 20
"""Largest unpacked size of a head that is stored compressed."""
_FIRST_BOXES = frozenset((b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot", b"uuid"))
_NORMAL_SPEED = 1 << 16


@dataclass(frozen=True, slots=True)
class _Entry:
    """One line of an edit list."""

    length: int
    """In ticks of the film."""
    begin: int
    """In ticks of the media; negative for an empty edit."""
    speed: int = _NORMAL_SPEED
    """In 65536ths; 0 shows one moment for the whole length."""

    @property
    def empty(self) -> bool:
        """Nothing is shown."""
        return self.begin < 0


@dataclass(frozen=True, slots=True)
class Track:
    """A track of sound or pictures and its edit list; without one, all its media is shown from the start."""

    number: int
    media_hz: int
    media_s: Fraction
    """As declared; 0 if unknown."""
    entries: tuple[_Entry, ...] = ()

    @property
    def shown(self) -> tuple[_Entry, ...]:
        """The entries after the initial delay."""
        delays = next((n for n, entry in enumerate(self.entries) if not entry.empty), len(self.entries))
        return self.entries[delays:]

    @property
    def other_speed(self) -> int:
        """Ticks of the film in edits at another speed."""
        return sum(e.length for e in self.shown if not e.empty and e.speed != _NORMAL_SPEED)


@dataclass(frozen=True, slots=True)
class Film:
    """The tracks of a film."""

    movie_hz: int = 0
    fragmented: bool = False
    """The media continues in fragments, and an entry without length lasts until the last of them."""
    tracks: tuple[Track, ...] = ()

    @property
    def joined(self) -> bool:
        """Some track consists of several parts, or shows nothing after its start."""
        return any(len(track.shown) > 1 for track in self.tracks)

    @property
    def hidden_s(self) -> float:
        """Length of the longest track whose list has entries without length, so that none of it is shown."""
        if self.fragmented:
            return 0.0
        unseen = [t for t in self.tracks if t.entries and not any(e.length for e in t.entries)]
        return max((float(t.media_s) for t in unseen), default=0.0)

    @property
    def other_speed_s(self) -> float:
        """Seconds in edits at another speed, in the track with most of them."""
        return max((t.other_speed for t in self.tracks), default=0) / max(1, self.movie_hz)


def film_of(read: _ReadAt) -> Film:
    """The edit lists of a QuickTime or MP4 file; empty for other formats."""
    if read(4, 4) not in _FIRST_BOXES:
        return Film()
    for kind, start, stop in _boxes(read, 0, 1 << 62):
        if kind == b"moov":
            return _film(read, start, stop)
    return Film()


def _film(read: _ReadAt, start: int, stop: int) -> Film:
    inside = list(_boxes(read, start, stop))
    for name, at, end in inside:
        if name == b"cmov":
            plain = _unpacked(read, at, end)
            whole = list(_boxes(plain, 0, 1 << 62))
            if whole and whole[0][0] == b"moov":
                read, inside = plain, list(_boxes(plain, *whole[0][1:]))
            break
    movie_hz = next((_timescale(read, at) for name, at, _ in inside if name == b"mvhd"), 0)
    if not movie_hz:
        return Film()
    fragmented = any(name == b"mvex" for name, _, _ in inside)
    tracks = (_track(read, at, end, fragmented) for name, at, end in inside if name == b"trak")
    return Film(movie_hz, fragmented, tuple(track for track in tracks if track is not None))


def _unpacked(read: _ReadAt, at: int, stop: int) -> _ReadAt:
    """The content of a compressed head."""
    place = next((start for name, start, _ in _boxes(read, at, stop) if name == b"cmvd"), stop)
    data = b""
    if place < stop:
        try:
            # Its first four bytes are the length when unpacked.
            packed = read(place + 4, min(stop - place - 4, _MOST_HEAD_BYTES))
            data = zlib.decompressobj().decompress(packed, _MOST_HEAD_BYTES)
        except zlib.error:
            data = b""
    return lambda at, size: data[at : at + size]


def _boxes(read: _ReadAt, at: int, stop: int) -> Iterator[tuple[bytes, int, int]]:
    """Name, start and end of the content of each box."""
    for _ in range(_MOST_BOXES):
        head = read(at, 16) if at + 8 <= stop else b""
        length, name, start = int.from_bytes(head[:4], "big"), head[4:8], at + 8
        if length == 1 and len(head) == 16:
            length, start = int.from_bytes(head[8:], "big"), at + 16
        if len(head) < 8 or length < start - at:
            return
        yield name, start, min(at + length, stop)
        at += length


def _timescale(read: _ReadAt, at: int) -> int:
    """The time scale of an `mvhd` or `mdhd`."""
    head = read(at, 24)
    place = 20 if head[:1] == b"\1" else 12
    return int.from_bytes(head[place : place + 4], "big")


def _length(read: _ReadAt, at: int) -> int:
    """The duration in an `mdhd`, in ticks; 0 if unknown."""
    head = read(at, 32)
    place, size = (24, 8) if head[:1] == b"\1" else (16, 4)
    length = head[place : place + size]
    return 0 if length == b"\xff" * size else int.from_bytes(length, "big")


def _track(read: _ReadAt, start: int, stop: int, fragmented: bool) -> Track | None:
    inside = {name: (at, end) for name, at, end in _boxes(read, start, stop)}
    if b"mdia" not in inside or b"tkhd" not in inside:
        return None
    media = {name: at for name, at, _ in _boxes(read, *inside[b"mdia"])}
    if b"hdlr" not in media or b"mdhd" not in media:
        return None
    media_hz = _timescale(read, media[b"mdhd"])
    if read(media[b"hdlr"] + 8, 4) not in (b"soun", b"vide") or not media_hz:
        return None
    head = read(inside[b"tkhd"][0], 24)
    place = 20 if head[:1] == b"\1" else 12
    lists = {name: (at, end) for name, at, end in _boxes(read, *inside.get(b"edts", (0, 0)))}
    return Track(
        int.from_bytes(head[place : place + 4], "big"),
        media_hz,
        Fraction(_length(read, media[b"mdhd"]), media_hz),
        tuple(_entries(read, *lists[b"elst"], fragmented)) if b"elst" in lists else (),
    )


def _entries(read: _ReadAt, at: int, stop: int, fragmented: bool) -> list[_Entry]:
    head = read(at, 8)
    form = ">QqI" if head[:1] == b"\1" else ">IiI"
    size = struct.calcsize(form)
    count = min(int.from_bytes(head[4:], "big"), _MOST_EDITS, max(0, stop - at - 8) // size)
    table = read(at + 8, count * size)
    whole = table[: len(table) // size * size]
    entries = [_Entry(*line) for line in struct.iter_unpack(form, whole)]
    # What has no length shows nothing; a list of nothing else is kept, to be reported.
    some = [e for n, e in enumerate(entries) if e.length or (fragmented and n == len(entries) - 1)]
    return some or entries
