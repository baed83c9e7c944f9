"""A square piece of the picture, turned if need be: where a network looks, and its points brought back."""

from __future__ import annotations

from dataclasses import dataclass

import av
import numpy as np
import numpy.typing as npt

from corpus.align.sight.picture import Colour, Pictures
from corpus.schemas.arrays import Float32Array

DIAGONAL = 1.42
"""A square this much larger holds the corners of a turned one."""

Box = npt.NDArray[np.float64]
"""left, top, right, bottom in pixels of the upright picture."""
Points = npt.NDArray[np.float64]
"""(points, 2 or 3): x, y in pixels of the upright picture; z in the same unit, away from the camera."""


@dataclass(frozen=True, slots=True)
class Piece:
    """The middle, the side in pixels and the turn in radians, clockwise."""

    x: float
    y: float
    side: float
    roll: float

    @property
    def box(self) -> Box:
        """Its size and place without the turn."""
        half = self.side / 2
        return np.array((self.x - half, self.y - half, self.x + half, self.y + half))


def overlap(left: Box, right: Box) -> float:
    """Intersection over union of two boxes."""
    width = min(left[2], right[2]) - max(left[0], right[0])
    height = min(left[3], right[3]) - max(left[1], right[1])
    if width <= 0 or height <= 0:
        return 0.0
    common = float(width * height)
    areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in (left, right)]
    return common / float(sum(areas) - common)


def cut_piece(
    frame: av.VideoFrame, piece: Piece, side: int, pictures: Pictures, *, edges: bool = False
) -> Float32Array:
    """The piece as (side, side, 3), black 0 and white 1. `frame` is planar.

    What lies outside the picture is black, or with `edges` as the picture's nearest pixels.
    """
    if not piece.roll:
        half = piece.side / 2
        colour = pictures.piece(frame, piece.x - half, piece.y - half, piece.side, side, edges=edges)
        return np.divide(colour, np.float32(255), dtype=np.float32)
    large = round(side * DIAGONAL)
    width = piece.side * large / side
    colour = pictures.piece(frame, piece.x - width / 2, piece.y - width / 2, width, large, edges=edges)
    steps = np.arange(side, dtype=np.float32) - np.float32((side - 1) / 2)
    cos, sin = np.float32(np.cos(piece.roll)), np.float32(np.sin(piece.roll))
    middle = np.float32((large - 1) / 2)
    x = steps[None, :] * cos - steps[:, None] * sin + middle
    y = steps[None, :] * sin + steps[:, None] * cos + middle
    return _between(colour, x, y)


def _between(colour: Colour, x: Float32Array, y: Float32Array) -> Float32Array:
    """The picture at places between its pixels, white 1."""
    large = len(colour)
    columns = np.clip(x, 0, large - 1.001).astype(np.intp)
    rows = np.clip(y, 0, large - 1.001).astype(np.intp)
    across = (x - columns).astype(np.float32)[..., None]
    down = (y - rows).astype(np.float32)[..., None]
    flat, at = colour.reshape(-1, 3), rows * large + columns
    upper = flat[at] * (1 - across) + flat[at + 1] * across
    lower = flat[at + large] * (1 - across) + flat[at + large + 1] * across
    mixed: Float32Array = (upper * (1 - down) + lower * down) * np.float32(1 / 255)
    return mixed


def to_picture(points: Points, piece: Piece, side: int) -> Points:
    """Points of the piece shown as `side` pixels, in pixels of the picture."""
    scale = piece.side / side
    cos, sin = np.cos(piece.roll) * scale, np.sin(piece.roll) * scale
    x, y = points[:, 0] - side / 2, points[:, 1] - side / 2
    placed = points * scale
    placed[:, 0] = x * cos - y * sin + piece.x
    placed[:, 1] = x * sin + y * cos + piece.y
    return placed
