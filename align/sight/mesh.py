"""468 points on one face, from a square piece of the picture turned so that the eyes are level."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

from corpus.align.sight.detector import Box, Found
from corpus.align.sight.networks import Network
from corpus.align.sight.picture import Colour, Pictures

MARGIN = 1.5
"""The piece's side over the face's longer side."""
LEVEL = 0.15
"""Radians up to which a face is not turned: the mesh handles such a tilt by itself."""
RIGHT_EYE, LEFT_EYE = 33, 263

Points = npt.NDArray[np.float64]
"""(468, 3): x, y in pixels of the upright picture, z in the same unit, away from the camera."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Where to look for a face: the middle, the side in pixels and the turn in radians."""

    x: float
    y: float
    side: float
    roll: float


@dataclass(frozen=True, slots=True)
class Face:
    """What the mesh says."""

    points: Points
    score: float

    @property
    def box(self) -> Box:
        return np.concatenate((self.points[:, :2].min(0), self.points[:, :2].max(0)))


def piece_of_found(found: Found) -> Piece:
    left, top, right, bottom = found.box
    side = MARGIN * max(right - left, bottom - top)
    return Piece((left + right) / 2, (top + bottom) / 2, side, found.roll)


def piece_of_face(face: Face) -> Piece:
    """Where the same face is looked for in the next picture."""
    left, top, right, bottom = face.box
    eyes = face.points[LEFT_EYE, :2] - face.points[RIGHT_EYE, :2]
    side = MARGIN * max(right - left, bottom - top)
    return Piece((left + right) / 2, (top + bottom) / 2, side, float(np.arctan2(eyes[1], eyes[0])))


class Mesh:
    """Runs on pieces, never on whole pictures: there it finds nothing."""

    def __init__(self, folder: Path) -> None:
        self._network = Network(folder / "face_landmark.tflite")

    def __call__(self, frame: av.VideoFrame, piece: Piece, pictures: Pictures) -> Face:
        """`frame` is planar."""
        side = self._network.side
        roll = piece.roll if abs(piece.roll) > LEVEL else 0.0
        if roll:
            colour = _turned(frame, piece, side, pictures)
        else:
            half = piece.side / 2
            colour = pictures.piece(frame, piece.x - half, piece.y - half, piece.side, side)
        rows, logit = self._network(np.divide(colour, np.float32(255), dtype=np.float32))
        points = rows.reshape(-1, 3).astype(np.float64)
        # Back from the network's square to pixels of the picture: scale, turn, then move.
        points = (points - (side / 2, side / 2, 0)) * (piece.side / side)
        cos, sin = np.cos(roll), np.sin(roll)
        x, y = points[:, 0] * cos - points[:, 1] * sin, points[:, 0] * sin + points[:, 1] * cos
        points[:, 0], points[:, 1] = x + piece.x, y + piece.y
        score = 1 / (1 + np.exp(-np.clip(float(logit.ravel()[0]), -50, 50)))
        return Face(points, float(score))


def _turned(frame: av.VideoFrame, piece: Piece, side: int, pictures: Pictures) -> Colour:
    """The piece turned so that the eyes are level, cut from a larger one that holds its corners."""
    large = round(side * 1.42)  # the diagonal of a square
    width = piece.side * large / side
    colour = pictures.piece(frame, piece.x - width / 2, piece.y - width / 2, width, large)
    steps = np.arange(side) - (side - 1) / 2
    cos, sin = np.cos(piece.roll), np.sin(piece.roll)
    x = steps[None, :] * cos - steps[:, None] * sin + (large - 1) / 2
    y = steps[None, :] * sin + steps[:, None] * cos + (large - 1) / 2
    rows, columns = (np.clip(np.rint(v), 0, large - 1).astype(np.intp) for v in (y, x))
    turned: Colour = np.take(colour.reshape(-1, 3), rows * large + columns, axis=0)
    return turned
