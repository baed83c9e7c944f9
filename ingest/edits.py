"""Edit lists with joins, as QuickTime leaves them: what libav makes of those behind the first is not exact.

libav begins an edit with the first packet inside it, so that up to a packet of sound is missing there and the
rest of that edit stands as much too early; an empty edit behind the first it fills with the film's beginning.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

ReadAt = Callable[[int, int], bytes]
"""(place, size) -> the bytes there, fewer at the end."""

_MOST_BOXES = 10_000
_MOST_EDITS = 10_000


@dataclass(frozen=True, slots=True)
class Edits:
    """What the edit lists of a film's sound and pictures hold."""

    joins: int = 0
    """At most in one stream."""
    empty_s: float = 0.0
    """Silence that is no delay at the start, at most in one stream."""
    hidden_s: float = 0.0
    """Length of a stream whose edits have none: libav gives nothing of it."""


def edits_of(read: ReadAt) -> Edits:
    """The edits of a QuickTime or MP4 file; none where it has another form."""
    found = Edits()
    for kind, start, stop in _boxes(read, 0, 1 << 62):
        if kind != b"moov":
            continue
        inside = list(_boxes(read, start, stop))
        movie_hz = next((_timescale(read, at) for name, at, _ in inside if name == b"mvhd"), 0)
        # Of a film in fragments an edit without length lasts as long as there are fragments.
        fragmented = any(name == b"mvex" for name, _, _ in inside)
        for name, at, end in inside:
            if name == b"trak" and movie_hz:
                track = _track(read, at, end, movie_hz)
                found = Edits(
                    max(found.joins, track.joins),
                    max(found.empty_s, track.empty_s),
                    0.0 if fragmented else max(found.hidden_s, track.hidden_s),
                )
        break
    return found


def _boxes(read: ReadAt, at: int, stop: int) -> Iterator[tuple[bytes, int, int]]:
    """Name, and where the content of each box begins and ends."""
    for _ in range(_MOST_BOXES):
        head = read(at, 16) if at + 8 <= stop else b""
        length, name, start = int.from_bytes(head[:4], "big"), head[4:8], at + 8
        if length == 1 and len(head) == 16:
            length, start = int.from_bytes(head[8:], "big"), at + 16
        if len(head) < 8 or length < start - at:
            return
        yield name, start, at + length
        at += length


def _timescale(read: ReadAt, at: int) -> int:
    """Of an `mvhd` or `mdhd`."""
    head = read(at, 24)
    place = 20 if head[:1] == b"\1" else 12
    return int.from_bytes(head[place : place + 4], "big")


def _length_s(read: ReadAt, at: int) -> float:
    """Of an `mdhd`; 0 where it does not say."""
    head = read(at, 32)
    place, size = (24, 8) if head[:1] == b"\1" else (16, 4)
    length = head[place : place + size]
    if length == b"\xff" * size:
        return 0.0
    return int.from_bytes(length, "big") / max(1, _timescale(read, at))


def _track(read: ReadAt, start: int, stop: int, movie_hz: int) -> Edits:
    inside = {name: (at, end) for name, at, end in _boxes(read, start, stop)}
    if b"edts" not in inside or b"mdia" not in inside:
        return Edits()
    media = {name: at for name, at, _ in _boxes(read, *inside[b"mdia"])}
    lists = {name: at for name, at, _ in _boxes(read, *inside[b"edts"])}
    if b"hdlr" not in media or b"elst" not in lists:
        return Edits()
    if read(media[b"hdlr"] + 8, 4) not in (b"soun", b"vide"):
        return Edits()
    entries = _entries(read, lists[b"elst"])
    while entries and entries[0][1] < 0:  # a delay, which libav knows
        entries.pop(0)
    empty_s = sum(length for length, begin in entries if begin < 0) / movie_hz
    unseen = bool(entries) and not any(length for length, _ in entries) and b"mdhd" in media
    return Edits(max(0, len(entries) - 1), empty_s, _length_s(read, media[b"mdhd"]) if unseen else 0.0)


def _entries(read: ReadAt, at: int) -> list[tuple[int, int]]:
    """Duration on the film's clock and begin on the stream's, -1 for empty."""
    head = read(at, 8)
    count = min(int.from_bytes(head[4:], "big"), _MOST_EDITS)
    form = ">QqI" if head[:1] == b"\1" else ">IiI"
    size = struct.calcsize(form)
    table = read(at + 8, count * size)
    whole = table[: len(table) // size * size]
    return [(length, begin) for length, begin, _ in struct.iter_unpack(form, whole)]
