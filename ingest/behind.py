"""Where a file ends according to its own structure: another file may follow, or bytes that no reader uses.

Files are concatenated byte by byte more often than their formats allow. Most readers stop at the end of the
first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

_ReadAt = Callable[[int, int], bytes]
"""(position, size) -> the bytes there, fewer at the end."""

_MOST_STEPS = 2_000_000
"""Visit at most this many boxes, pages or tags: a crafted file must not keep a worker busy."""
_ASF = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
W64 = b"riff\x2e\x91\xcf\x11"
FLV = b"FLV\x01"
_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
_LEAST_UNREAD = 4096
"""Fewer extra bytes are some tool's trailer; fewer missing bytes are a miscalculated length."""
_UNKNOWN_LENGTHS = (range(0x7FFF0000, 0x80010000), range(0xFFFF0000, (1 << 32) + 64))
"""Placeholders that programs writing to a pipe use for 32-bit lengths they cannot know."""


@dataclass(frozen=True, slots=True)
class End:
    """What follows the first file."""

    following: int | None = None
    """Position at which another file begins."""
    unread: int = 0
    """Bytes that no reader looks at."""
    missing: int = 0
    """Bytes that the head declares but the file does not have."""


def first_end(read: _ReadAt, size: int) -> End:
    """Find the first file's end from its outermost structure, for containers that hide joined files."""
    head = read(0, 16)
    if head[:4] in (b"RIFF", b"RF64", b"BW64"):
        return _riff(read, size)
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        end = 8 + int.from_bytes(head[4:8], "big")
        return End(end + end % 2) if read(end + end % 2, 4) == b"FORM" else End(missing=_missing(end, size))
    if head[:8] == W64:
        return _w64(read, size)
    if head[:4] == b".snd":
        start, length = (int.from_bytes(head[at : at + 4], "big") for at in (4, 8))
        return End(missing=_missing(start + length, size))
    if head == _ASF:
        return _asf(read, size)
    if head[:4] == b"caff":
        return _caf(read, size)
    walks: list[tuple[bytes, int, Callable[[_ReadAt, int], int | None]]] = [
        (b"ftyp", 4, _mov),
        (b"OggS", 0, _ogg),
        (FLV, 0, _flv),
        (_EBML, 0, _matroska),
    ]
    for magic, at, walk in walks:
        if head[at:].startswith(magic):
            return End(walk(read, size))
    return End()


def _riff(read: _ReadAt, size: int) -> End:
    head = read(0, 36)
    length = int.from_bytes(head[4:8], "little")
    if head[:4] in (b"RF64", b"BW64") and head[12:16] == b"ds64":
        # The 32-bit length is all ones there; the real one is in the `ds64` chunk.
        length = int.from_bytes(head[20:28], "little")
    form, end = head[8:12], 8 + length
    following = b""
    # A recorder that was cut off never wrote its length: nothing is known to follow.
    if length < 28 or end > size:
        lost = form == b"WAVE" or (form == b"AVI " and _missing(_avi_index(read, end), size))
        return End(missing=_missing(end, size) if lost else 0)
    for _ in range(_MOST_STEPS):
        # Chunks are padded to even sizes.
        end += end % 2
        following = read(end, 12)
        # A long AVI goes on in further RIFFs of the form AVIX.
        if following[:4] != b"RIFF" or following[8:12] != b"AVIX":
            break
        end += 8 + int.from_bytes(following[4:8], "little")
    if following[:4] in (b"RIFF", b"RF64", b"BW64") and following[8:12] == form:
        return End(end)
    return End(unread=_unread_wave(read, size, end)) if form == b"WAVE" else End()


def _avi_index(read: _ReadAt, end: int) -> int:
    """Position of the index, after all sound and pictures; a recorder may never have written it."""
    at = 12
    for _ in range(_MOST_STEPS):
        chunk = read(at, 12)
        if len(chunk) < 12:
            break
        length = int.from_bytes(chunk[4:8], "little")
        at += 8 + length + length % 2
        if chunk[:4] == b"LIST" and chunk[8:] == b"movi":
            return at
    return end


def _unread_wave(read: _ReadAt, size: int, end: int) -> int:
    """Bytes after the last valid chunk (a `data` chunk may declare too little), and in further ones."""
    at, data_chunks, further = 12, 0, 0
    for _ in range(_MOST_STEPS):
        chunk = read(at, 8) if at + 8 <= end else b""
        if not chunk or not all(32 <= byte < 127 for byte in chunk[:4]):
            break
        # Streaming writers leave the data chunk's length at all ones: it reaches to the end of the file.
        length = int.from_bytes(chunk[4:8], "little")
        at += 8 + length + length % 2
        if length == 0xFFFFFFFF:
            return 0
        if chunk[:4] == b"data":
            # Readers take the first alone.
            further += length if data_chunks else 0
            data_chunks += 1
    if further >= _LEAST_UNREAD:
        return further
    unread = size - min(at, end)
    return unread if unread >= _LEAST_UNREAD and any(read(size - unread, 1 << 16)) else 0


def _missing(end: int, size: int) -> int:
    """How many of the bytes declared up to `end` are missing."""
    unknown = end >= 1 << 62 or any(end in lengths for lengths in _UNKNOWN_LENGTHS)
    return end - size if end - size >= _LEAST_UNREAD and not unknown else 0


def _w64(read: _ReadAt, size: int) -> End:
    # Unlike RIFF the length includes its own header, and chunks are padded to eight bytes.
    end = -(-int.from_bytes(read(16, 8), "little") // 8) * 8
    if 40 < end < size and read(end, 8) == W64:
        return End(end)
    return End(missing=_missing(end, size))


def _caf(read: _ReadAt, size: int) -> End:
    at = 8
    for _ in range(_MOST_STEPS):
        chunk = read(at, 12)
        if chunk[:4] == b"caff":
            return End(at)
        if len(chunk) < 12:
            break
        length = int.from_bytes(chunk[4:], "big", signed=True)
        # -1: the data chunk reaches to the end of the file.
        if length < 0:
            return End()
        at += 12 + length
    return End(missing=_missing(at, size))


def _mov(read: _ReadAt, size: int) -> int | None:
    at, first = 0, None
    for _ in range(_MOST_STEPS):
        head = read(at, 16)
        length, kind = int.from_bytes(head[:4], "big"), head[4:8]
        # A box over 4 GB has its length behind its name; 0 would mean "to the end" and stops the walk below.
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        if len(head) < 8 or length < 8:
            return None
        if kind == b"ftyp" and first is not None:
            # Fragments may repeat the head they need; a head of another film is that of another file.
            return None if _head(read, at) == first else at
        if kind == b"moov" and first is None:
            first = read(at, min(length, 1 << 20))
        at += length
    return None


def _head(read: _ReadAt, at: int) -> bytes | None:
    """The `moov` after an `ftyp`, if it follows directly."""
    at += int.from_bytes(read(at, 4), "big")
    head = read(at, 8)
    return read(at, min(int.from_bytes(head[:4], "big"), 1 << 20)) if head[4:8] == b"moov" else None


def _asf(read: _ReadAt, size: int) -> End:
    at = 0
    for _ in range(_MOST_STEPS):
        head = read(at, 24)
        if len(head) < 24:
            break
        if at and head[:16] == _ASF:
            return End(at)
        length = int.from_bytes(head[16:], "little")
        if length < 24:
            return End()
        at += length
    return End(missing=_missing(at, size))


def _ogg(read: _ReadAt, size: int) -> int | None:
    at, begun = 0, False
    for _ in range(_MOST_STEPS):
        page = read(at, 27 + 255)
        if page[:4] != b"OggS" or len(page) < 27:
            return None
        # Several streams begin together at the head; a beginning after other pages starts another file.
        begins = bool(page[5] & 2)
        if begins and begun:
            return at
        begun = begun or not begins
        # Header, segment table, and the segments whose sizes the table lists.
        at += 27 + page[26] + sum(page[27 : 27 + page[26]])
    return None


def _flv(read: _ReadAt, size: int) -> int | None:
    at = 13
    for _ in range(_MOST_STEPS):
        tag = read(at, 11)
        if len(tag) < 11:
            return None
        if tag[:4] == FLV:
            return at
        # An 11-byte head, the data, and the size once more in four bytes.
        at += 15 + int.from_bytes(tag[1:4], "big")
    return None


def _matroska(read: _ReadAt, size: int) -> int | None:
    at = 0
    for wanted in (_EBML, _SEGMENT):
        head = read(at, 12)
        if head[:4] != wanted or len(head) < 12:
            return None
        # _EBML: the leading zero bits of the first byte say how many bytes the number has.
        width = 9 - head[4].bit_length()
        length = int.from_bytes(head[4 : 4 + width], "big") & ((1 << 7 * width) - 1)
        if length == (1 << 7 * width) - 1:  # still being written when it ended
            return None
        at += 4 + width + length
    return at if read(at, 4) == _EBML else None
