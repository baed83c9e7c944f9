"""Square pieces of a picture, turned if need be, for networks; and mapping their points back."""

from __future__ import annotations

from dataclasses import dataclass

import av
import numpy as np
import numpy.typing as npt

from corpus.align.sight.picture import Colour, Pictures

Box = npt.NDArray[np.float64]
"""left, top, right, bottom in pixels of the upright picture."""
Points = npt.NDArray[np.float64]
"""(points, 2 or 3): x, y in pixels of the upright picture; z in the same unit, away from the camera."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece by its middle, its side in pixels and its clockwise rotation in radians."""

    x: float
    y: float
    side: float
    roll: float

    @property
    def box(self) -> Box:
        """Its size and place without the rotation."""
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
) -> Colour:
    """The piece as (side, side, 3). `frame` is planar.

    Outside the picture it is black, or with `edges` like the picture's nearest pixels.
    """
    if not piece.roll:
        half = piece.side / 2
        return pictures.piece(frame, piece.x - half, piece.y - half, piece.side, side, edges=edges)
    # A square that holds the corners of the turned one.
    large = int(np.ceil(side * (abs(np.cos(piece.roll)) + abs(np.sin(piece.roll)))))
    width = piece.side * large / side
    colour = pictures.piece(frame, piece.x - width / 2, piece.y - width / 2, width, large, edges=edges)
    steps = np.arange(side, dtype=np.float32) - np.float32((side - 1) / 2)
    cos, sin = np.float32(np.cos(piece.roll)), np.float32(np.sin(piece.roll))
    middle = np.float32((large - 1) / 2)
    x = steps[None, :] * cos - steps[:, None] * sin + middle
    y = steps[None, :] * sin + steps[:, None] * cos + middle
    # Nearest pixels: interpolating would cost more than the networks and show them nothing new.
    rows, columns = (np.clip(np.rint(v), 0, large - 1).astype(np.intp) for v in (y, x))
    turned: Colour = np.take(colour.reshape(-1, 3), rows * large + columns, axis=0)
    return turned


def to_picture(points: Points, piece: Piece, side: int) -> Points:
    """Points in a piece of `side` pixels, converted to pixels of the picture."""
    scale = piece.side / side
    cos, sin = np.cos(piece.roll) * scale, np.sin(piece.roll) * scale
    x, y = points[:, 0] - side / 2, points[:, 1] - side / 2
    placed = points * scale
    placed[:, 0] = x * cos - y * sin + piece.x
    placed[:, 1] = x * sin + y * cos + piece.y
    return placed
