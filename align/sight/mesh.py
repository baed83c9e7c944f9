"""Finds 468 points on one face, in a square piece of the picture turned so that the eyes are level."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import av
import numpy as np

from corpus.align.sight.detector import MARGIN
from corpus.align.sight.networks import Network
from corpus.align.sight.picture import Pictures
from corpus.align.sight.piece import Box, Piece, Points, cut_piece, to_picture

_LEVEL = 0.15
"""Up to this many radians a face is not turned: the mesh handles such a tilt itself."""
RIGHT_EYE, LEFT_EYE = 33, 263


@dataclass(frozen=True, slots=True)
class Face:
    """The mesh of a face."""

    points: Points
    """(468, 3)."""
    score: float

    @property
    def box(self) -> Box:
        return np.concatenate((self.points[:, :2].min(0), self.points[:, :2].max(0)))

    @property
    def piece(self) -> Piece:
        """The piece in which to look for the same face in the next picture."""
        left, top, right, bottom = self.box
        eyes = self.points[LEFT_EYE, :2] - self.points[RIGHT_EYE, :2]
        side = MARGIN * max(right - left, bottom - top)
        return Piece((left + right) / 2, (top + bottom) / 2, side, float(np.arctan2(eyes[1], eyes[0])))


class Mesh:
    """Runs on pieces only; in whole pictures it finds nothing."""

    def __init__(self, folder: Path) -> None:
        self._network = Network(folder / "face_landmark.tflite")

    def __call__(self, frame: av.VideoFrame, piece: Piece, pictures: Pictures) -> Face:
        """`frame` is planar."""
        side = self._network.side
        if abs(piece.roll) <= _LEVEL:
            piece = replace(piece, roll=0.0)
        rows, logit = self._network(cut_piece(frame, piece, side, pictures))
        points = to_picture(rows.reshape(-1, 3).astype(np.float64), piece, side)
        score = 1 / (1 + np.exp(-np.clip(float(logit.ravel()[0]), -50, 50)))
        return Face(points, float(score))
