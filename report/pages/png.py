"""Small PNGs from arrays of palette indices, for pages that need no image library."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import numpy.typing as npt

Colour = tuple[int, int, int, int]
"""Red, green, blue and opacity, 0 to 255 each."""


def indexed_png(pixels: npt.NDArray[np.uint8], palette: list[Colour]) -> bytes:
    """A PNG of uint8 indices `[height, width]` into at most 256 colours."""
    height, width = pixels.shape
    lines = np.zeros((height, width + 1), np.uint8)  # each line begins with its filter: none
    lines[:, 1:] = pixels
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        (
            _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
            _chunk(b"PLTE", b"".join(bytes(colour[:3]) for colour in palette)),
            _chunk(b"tRNS", bytes(colour[3] for colour in palette)),
            _chunk(b"IDAT", zlib.compress(lines.tobytes(), 9)),
            _chunk(b"IEND", b""),
        )
    )


def _chunk(kind: bytes, content: bytes) -> bytes:
    check = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)


def ramp(anchors: list[tuple[float, Colour]], steps: int) -> list[Colour]:
    """A palette that runs through the anchors, which have positions from 0 to 1."""
    places = np.linspace(0, 1, steps)
    at = [place for place, _ in anchors]
    parts = [np.interp(places, at, [colour[part] for _, colour in anchors]) for part in range(4)]
    return [(int(r), int(g), int(b), int(a)) for r, g, b, a in zip(*parts, strict=True)]
