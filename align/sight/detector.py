"""Finds faces in a whole picture, best first: with a model for small faces, else with one for large ones."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from corpus.align.sight.picture import Pictures
from corpus.align.sight.piece import Box, Piece
from corpus.align.sight.spots import Spot, Spotter

_FULL_RANGE = ("face_detection_full_range_sparse.tflite", ((4, 1),))
_SHORT_RANGE = ("face_detection_short_range.tflite", ((8, 2), (16, 6)))
MARGIN = 1.5
"""Side of the piece examined closely, relative to the face's longer side."""


@dataclass(frozen=True, slots=True)
class Found:
    """A face in a picture."""

    box: Box
    roll: float
    """Clockwise rotation of the line of the eyes, in radians."""
    score: float

    @property
    def piece(self) -> Piece:
        left, top, right, bottom = self.box
        side = MARGIN * max(right - left, bottom - top)
        return Piece((left + right) / 2, (top + bottom) / 2, side, self.roll)


class Detector:
    """Looks at whole pictures."""

    def __init__(self, folder: Path) -> None:
        self._looks = [Spotter(folder / file, grids, -1.0) for file, grids in (_FULL_RANGE, _SHORT_RANGE)]

    def __call__(self, frame: av.VideoFrame, pictures: Pictures) -> list[Found]:
        for look in self._looks:
            faces = [face_of(spot) for spot in look(frame, pictures)]
            if faces:
                return faces
        return []


def face_of(spot: Spot) -> Found:
    # Points 0 and 1 are the eyes, the face's right one first.
    (x0, y0), (x1, y1) = spot.points[:2]
    return Found(spot.box, float(np.arctan2(y1 - y0, x1 - x0)), spot.score)
