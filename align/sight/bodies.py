"""Bodies: people in a whole picture, and the joints of one person in a piece of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

from corpus.align.sight.networks import Network
from corpus.align.sight.picture import Pictures
from corpus.align.sight.piece import Box, Piece, Points, cut_piece, to_picture
from corpus.align.sight.spots import Spotter
from corpus.schemas.joints import BODY_JOINTS

PERSON = ("pose_detection.tflite", ((8, 2), (16, 2), (32, 6)))
_JOINTS = "pose_landmark_full.tflite"
_BODY_SIDE = 1.25
"""The piece's side relative to twice the distance between the detector's two points of a body: the middle of
the hips, and a point on a circle around the whole body."""
_HIPS, _AROUND = 0, 1
"""Indices of the detector's points; the joints' network returns both after the joints."""
_NEAR = 3
"""Cells of the heat map on each side that refine a joint's place."""
_LEAST_HEAT = 0.5


@dataclass(frozen=True, slots=True)
class _Person:
    """A body found in a whole picture."""

    piece: Piece

    @property
    def box(self) -> Box:
        return self.piece.box


@dataclass(frozen=True, slots=True)
class Body:
    """The network's result for a piece."""

    points: Points
    visible: npt.NDArray[np.float64]
    """In [0, 1] for each joint: how sure the network is that it is in the picture and not hidden."""
    score: float
    piece: Piece
    """The piece in which to look for the same body in the next picture."""

    @property
    def box(self) -> Box:
        return self.piece.box


class PersonDetector:
    """Looks at whole pictures."""

    def __init__(self, folder: Path) -> None:
        self._spotter = Spotter(folder / PERSON[0], PERSON[1], -1.0)

    def __call__(self, frame: av.VideoFrame, pictures: Pictures) -> list[_Person]:
        spots = self._spotter(frame, pictures)
        return [_Person(piece_around(spot.points[_HIPS], spot.points[_AROUND])) for spot in spots]


def piece_around(hips: Points, around: Points) -> Piece:
    """The piece that holds the body, turned so that it stands upright."""
    x, y = around - hips
    side = 2 * _BODY_SIDE * float(np.hypot(x, y))
    return Piece(float(hips[0]), float(hips[1]), side, float(np.arctan2(x, -y)))


class BodyJoints:
    """Runs on pieces that hold one body."""

    def __init__(self, folder: Path) -> None:
        self._network = Network(folder / _JOINTS)

    def __call__(self, frame: av.VideoFrame, piece: Piece, pictures: Pictures) -> Body:
        """`frame` is planar."""
        side = self._network.side
        heat, _, rows, _, score = self._network(cut_piece(frame, piece, side, pictures, edges=True))
        values = rows.reshape(-1, 5).astype(np.float64)
        refined = with_heat(values[:, :2] / side, heat[0]) * side
        points = to_picture(refined, piece, side)
        joints = len(BODY_JOINTS)
        visible = 1 / (1 + np.exp(-np.clip(values[:joints, 3], -50, 50)))
        following = piece_around(points[joints + _HIPS], points[joints + _AROUND])
        return Body(points[:joints], visible, float(score.ravel()[0]), following)


def with_heat(points: Points, heat: npt.NDArray[np.float32]) -> Points:
    """Points, as shares of the piece, moved to the centre of the heat around them.

    `heat` is (rows, columns, points) of logits. Points outside and points without heat stay where they are.
    """
    rows, columns, _ = heat.shape
    moved = points.copy()
    for at, (x, y) in enumerate(points):
        column, row = int(np.floor(x * columns)), int(np.floor(y * rows))
        if not (0 <= column < columns and 0 <= row < rows):
            continue
        top, left = max(0, row - _NEAR), max(0, column - _NEAR)
        logits = heat[top : row + _NEAR + 1, left : column + _NEAR + 1, at].astype(np.float64)
        near = 1 / (1 + np.exp(-logits))
        if near.max() < _LEAST_HEAT:
            continue
        total = near.sum()
        moved[at, 0] = (left + (near.sum(0) @ np.arange(near.shape[1])) / total) / columns
        moved[at, 1] = (top + (near.sum(1) @ np.arange(near.shape[0])) / total) / rows
    return moved
