"""Small pictures with a palette, as PNG and as data URIs; no imaging library is needed for these."""

from __future__ import annotations

import base64
import struct
import zlib

import numpy as np
import numpy.typing as npt

Colour = tuple[int, int, int]


def png(places: npt.NDArray[np.uint8], palette: list[Colour], *, clear: int = 0) -> bytes:
    """A PNG of palette places, shape (height, width); the first `clear` colours are transparent."""
    height, width = places.shape
    lines = np.zeros((height, width + 1), np.uint8)  # a 0 before each line: no filter
    lines[:, 1:] = places
    head = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"PLTE", bytes(part for colour in palette for part in colour))]
    if clear:
        chunks.append((b"tRNS", bytes(clear)))
    chunks += [(b"IDAT", zlib.compress(lines.tobytes(), 9)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def data_uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


_STOPS: tuple[Colour, ...] = (
    (13, 15, 24),
    (48, 28, 84),
    (128, 38, 104),
    (206, 72, 72),
    (246, 150, 78),
    (252, 240, 190),
)


def heat(levels: int) -> list[Colour]:
    """Colours from dark to light, evenly in lightness."""
    stops = np.array(_STOPS, np.float64)
    at = np.linspace(0, len(stops) - 1, levels)
    channels = [np.interp(at, np.arange(len(stops)), stops[:, i]) for i in range(3)]
    return [(round(r), round(g), round(b)) for r, g, b in zip(*channels, strict=True)]
