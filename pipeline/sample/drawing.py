"""Flat drawing with soft edges: shapes are signed distances, in pixels, negative inside."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from corpus.schemas.arrays import Float32Array

Colour = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Canvas:
    """An RGB picture with an opacity, and the coordinates of its pixels' centres."""

    colour: Float32Array  # (height, width, 3), 0 to 255, not multiplied with the opacity
    opacity: Float32Array  # (height, width), 0 to 1
    x: Float32Array
    y: Float32Array

    def paint(self, distance: Float32Array, colour: Colour, opacity: float = 1.0) -> None:
        """Lay a colour over what is there wherever the distance is negative."""
        # Half a pixel on either side of the edge gives it a soft border.
        over = np.clip(0.5 - distance, 0, 1) * np.float32(opacity)
        under = self.opacity * (1 - over)
        total = over + under
        # Colours are not premultiplied: weigh the new one by its part of the total opacity.
        share = np.divide(over, total, out=np.zeros_like(over), where=total > 0)[:, :, None]
        self.colour[:] = self.colour * (1 - share) + np.array(colour, np.float32) * share
        self.opacity[:] = total

    def over(self, picture: npt.NDArray[np.uint8], left: int, top: int) -> None:
        """Lay this canvas onto an RGB picture."""
        height, width = self.opacity.shape
        area = picture[top : top + height, left : left + width]
        share = self.opacity[:, :, None]
        area[:] = np.rint(area * (1 - share) + self.colour * share).astype(np.uint8)


def blank(width: int, height: int) -> Canvas:
    y, x = np.mgrid[0:height, 0:width].astype(np.float32) + np.float32(0.5)
    return Canvas(np.zeros((height, width, 3), np.float32), np.zeros((height, width), np.float32), x, y)


def ellipse(canvas: Canvas, x: float, y: float, across: float, down: float) -> Float32Array:
    """Half axes `across` and `down`. The distance is exact on the edge, where it is used."""
    dx, dy = (canvas.x - x) / across, (canvas.y - y) / down
    value = np.sqrt(dx * dx + dy * dy)
    # Divided by its gradient, the implicit function becomes a distance near the edge.
    slope = np.sqrt((dx / across) ** 2 + (dy / down) ** 2)
    return np.asarray((value - 1) * value / np.maximum(slope, 1e-6), np.float32)


def rounded(
    canvas: Canvas, left: float, top: float, right: float, bottom: float, radius: float
) -> Float32Array:
    """A rectangle with round corners."""
    dx = np.abs(canvas.x - (left + right) / 2) - (right - left) / 2 + radius
    dy = np.abs(canvas.y - (top + bottom) / 2) - (bottom - top) / 2 + radius
    outside = np.hypot(np.maximum(dx, 0), np.maximum(dy, 0))
    return np.asarray(outside + np.minimum(np.maximum(dx, dy), 0) - radius, np.float32)


def capsule(canvas: Canvas, x0: float, y0: float, x1: float, y1: float, radius: float) -> Float32Array:
    """A stroke with round ends."""
    length2 = (x1 - x0) ** 2 + (y1 - y0) ** 2
    along = ((canvas.x - x0) * (x1 - x0) + (canvas.y - y0) * (y1 - y0)) / max(length2, 1e-6)
    along = np.clip(along, 0, 1)
    distance = np.hypot(canvas.x - x0 - along * (x1 - x0), canvas.y - y0 - along * (y1 - y0))
    return np.asarray(distance - radius, np.float32)


def above(canvas: Canvas, y: float) -> Float32Array:
    """Everything above a level; combine with `np.maximum`."""
    return canvas.y - np.float32(y)
