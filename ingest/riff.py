"""Wav headers that contradict themselves: the one reading consistent with everything, or none.

A `fmt ` chunk states the same thing several times: bits per sample, bytes per block of all channels, bytes
per second. libav uses only the bits, so 24 valid bits in words of four bytes become noise.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Protocol

_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_HEAD_BYTES = 1 << 20
"""A `fmt ` chunk further from the start is left to libav."""
_W64_RIFF = b"riff\x2e\x91\xcf\x11"
_W64_FMT = b"fmt \xf3\xac\xd3\x11"


class _ByteFile(Protocol):
    def read(self, size: int, /) -> bytes | None: ...
    def seek(self, offset: int, /) -> int: ...


@dataclass(frozen=True, slots=True)
class Patch:
    """Bytes to be read in place of those at `offset`."""

    offset: int
    data: bytes


def correct_header(file: _ByteFile) -> tuple[Patch | None, str]:
    """The patch that lets libav understand a wav, and why the file cannot be read at all, or ""."""
    form = _format_chunk(file)
    if form is None:
        return None, ""
    offset, chunk = form
    tag, channels, rate, per_second, block, bits = struct.unpack("<HHIIHH", chunk[:16])
    extensible = tag == _EXTENSIBLE and len(chunk) >= 26
    kind = struct.unpack("<H", chunk[24:26])[0] if extensible else tag
    if kind not in (_PCM, _FLOAT) or not channels or not bits:
        return None, ""
    valid = struct.unpack("<H", chunk[18:20])[0] if extensible else bits
    said = f"its header says {channels} channels of {bits} bits in blocks of {block} bytes"
    word = -(-bits // 8)
    if block and block != channels * word:
        # A word may be wider than its bits, never narrower; floating point fills it.
        if block % channels or block // channels < word or block // channels > 8 or kind == _FLOAT:
            return None, f"contradicts itself: {said}"
        word = block // channels
    # A second witness: bytes a second, with a block or a percent of tolerance for writers that round.
    if per_second and rate and abs(per_second - rate * channels * word) > max(channels * word, rate // 100):
        return None, f"contradicts itself: {said}, {rate} blocks and {per_second} bytes a second"
    if word == -(-(valid or bits) // 8):
        return None, ""
    # Valid bits stand at the top of their word, so the whole word is the sample, at its level.
    word_bits = struct.pack("<H", word * 8)
    data = bytearray(chunk[14:20] if extensible else chunk[14:16])
    data[0:2] = word_bits
    if extensible:
        data[4:6] = word_bits
    return Patch(offset + 14, bytes(data)), ""


def _format_chunk(file: _ByteFile) -> tuple[int, bytes] | None:
    """(place, content) of the `fmt ` chunk of a RIFF, RF64, BW64 or W64 file."""
    file.seek(0)
    head = file.read(40) or b""
    if head[:4] in (b"RIFF", b"RF64", b"BW64") and head[8:12] == b"WAVE":
        return _find(file, 12, name=b"fmt ", wide=False)
    if head[:8] == _W64_RIFF:
        return _find(file, 40, name=_W64_FMT, wide=True)
    return None


def _find(file: _ByteFile, at: int, *, name: bytes, wide: bool) -> tuple[int, bytes] | None:
    head, pad = (24, 8) if wide else (8, 2)
    while at < _HEAD_BYTES:
        file.seek(at)
        chunk = file.read(head) or b""
        if len(chunk) < head:
            return None
        # W64 counts its own 24-byte head in the size and pads to eight; RIFF does neither.
        size = struct.unpack("<Q", chunk[16:24])[0] - head if wide else struct.unpack("<I", chunk[4:8])[0]
        if chunk.startswith(name):
            content = file.read(min(size, 40)) or b""
            return (at + head, content) if len(content) >= 16 else None
        if size < 0:
            return None
        at += head + -(-size // pad) * pad
    return None
