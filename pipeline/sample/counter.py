"""The window counter of the sample video: digits for people, a row of blocks for machines.

    cell   0      1      2 … 13                     14      15
           white  black  the number, high bit first  parity  white

The two marks in front and the one behind tell a counter from a picture without one; parity makes the
number of white cells among the number and itself even.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from corpus.pipeline.sample.drawing import Canvas, capsule

WIDTH, HEIGHT = 640, 400
"""The size of the sample's picture; a counter is read from any other size of this shape."""
BITS = 12
CELLS = BITS + 4
CELL = 14
"""Pixels; 7 in the 320x200 pictures of a shard, nearly one whole block of JPEG."""
LEFT, TOP = 398, 352
ROWS = 24

LARGEST = (1 << BITS) - 1
_SEGMENTS = ("abcdef", "bc", "abged", "abgcd", "fgbc", "afgcd", "afgedc", "abc", "abcdefg", "abcdfg")
"""The segments lit for each digit, on a seven-segment display: a on top, then clockwise, g across."""


def _cells_of(number: int) -> tuple[bool, ...]:
    """Which cells are white for a number in [0, LARGEST]."""
    if not 0 <= number <= LARGEST:
        raise ValueError(f"the counter shows 0 to {LARGEST}, got {number}")
    bits = [bool(number >> bit & 1) for bit in reversed(range(BITS))]
    return (True, False, *bits, sum(bits) % 2 == 1, True)


def draw_blocks(picture: npt.NDArray[np.uint8], number: int) -> None:
    """Write the row of blocks into an RGB picture of WIDTH by HEIGHT."""
    for place, white in enumerate(_cells_of(number)):
        left = LEFT + place * CELL
        picture[TOP : TOP + ROWS, left : left + CELL] = 236 if white else 12


def read_counter(picture: npt.NDArray[np.uint8]) -> int | None:
    """The number in a decoded picture, RGB or grey, of any size with the sample's shape; None without one.

    Takes the middle third of each cell, so neither scaling nor compression of the edges matters.
    """
    grey = picture.astype(np.float64).mean(axis=2) if picture.ndim == 3 else picture.astype(np.float64)
    scale_y, scale_x = grey.shape[0] / HEIGHT, grey.shape[1] / WIDTH
    top, bottom = int((TOP + ROWS / 3) * scale_y), int((TOP + ROWS * 2 / 3) * scale_y)
    levels: list[float] = []
    for place in range(CELLS):
        left = int((LEFT + (place + 1 / 3) * CELL) * scale_x)
        right = max(left + 1, int((LEFT + (place + 2 / 3) * CELL) * scale_x))
        levels.append(float(grey[top:bottom, left:right].mean()))
    if any(70 < level < 180 for level in levels):
        return None
    white = [level >= 180 for level in levels]
    number = sum(1 << (BITS - 1 - place) for place, bit in enumerate(white[2 : 2 + BITS]) if bit)
    return number if tuple(white) == _cells_of(number) else None


def draw_digits(canvas: Canvas, number: int, left: float, top: float, size: float) -> None:
    """Four digits `size` pixels tall, in slender strokes."""
    for place, digit in enumerate(f"{number:04d}"):
        leading = len(str(number)) < 4 - place
        _draw_digit(canvas, int(digit), left + place * size * 0.78, top, size, dim=leading)


def _draw_digit(canvas: Canvas, digit: int, left: float, top: float, size: float, *, dim: bool) -> None:
    right, middle, bottom = left + size * 0.5, top + size / 2, top + size
    strokes = {
        "a": (left, top, right, top),
        "b": (right, top, right, middle),
        "c": (right, middle, right, bottom),
        "d": (left, bottom, right, bottom),
        "e": (left, middle, left, bottom),
        "f": (left, top, left, middle),
        "g": (left, middle, right, middle),
    }
    colour = (74, 82, 94) if dim else (240, 236, 226)
    for name in _SEGMENTS[digit]:
        canvas.paint(capsule(canvas, *strokes[name], size * 0.055), colour)
