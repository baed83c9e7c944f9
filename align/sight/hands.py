"""Finds hands: palms in a whole picture, and the joints of one hand in a piece of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from corpus.align.sight.networks import Network
from corpus.align.sight.picture import Pictures
from corpus.align.sight.piece import Box, Piece, Points, cut_piece, to_picture
from corpus.align.sight.spots import Spot, Spotter

PALM = ("palm_detection_full.tflite", ((8, 2), (16, 6)))
_JOINTS = "hand_landmark_full.tflite"
_PALM_SIDE, _PALM_SHIFT = 2.6, 0.5
"""The piece's side relative to the palm's, and its shift towards the fingers, in palms."""
_HAND_SIDE, _HAND_SHIFT = 2.0, 0.1
"""The same relative to the box of the palm's joints and the fingers' first joints."""
_WRIST, _MIDDLE_KNUCKLE = 0, 2
"""Indices of the palm's points."""
NEAR = (0, 1, 2, 3, 5, 6, 9, 10, 13, 14, 17, 18)
"""Joints that do not move when fingers bend."""
_KNUCKLES = (5, 9, 13)
"""Joints of the index, middle and ring finger."""


@dataclass(frozen=True, slots=True)
class _Palm:
    """A hand found in a whole picture."""

    piece: Piece

    @property
    def box(self) -> Box:
        return self.piece.box


@dataclass(frozen=True, slots=True)
class Hand:
    """The network's result for a piece."""

    points: Points
    score: float
    right: float
    """In [0, 1]: how sure the network is that this is a right hand."""

    @property
    def piece(self) -> Piece:
        """The piece in which to look for the same hand in the next picture."""
        wrist, index, middle, ring = self.points[[0, *_KNUCKLES], :2]
        roll = _upright(wrist, (index + ring) / 4 + middle / 2)
        near = self.points[list(NEAR), :2]
        # The box that holds the joints when the hand is turned upright.
        cos, sin = np.cos(roll), np.sin(roll)
        middle = (near.min(0) + near.max(0)) / 2
        turned = (near - middle) @ np.array(((cos, -sin), (sin, cos)))
        low, high = turned.min(0), turned.max(0)
        side = float((high - low).max())
        x, y = (low + high) / 2 - (0, _HAND_SHIFT * float((high - low)[1]))
        return Piece(
            float(middle[0] + x * cos - y * sin),
            float(middle[1] + x * sin + y * cos),
            _HAND_SIDE * side,
            roll,
        )

    @property
    def box(self) -> Box:
        return self.piece.box


class PalmDetector:
    """Looks at whole pictures."""

    def __init__(self, folder: Path) -> None:
        self._spotter = Spotter(folder / PALM[0], PALM[1], 0.0)

    def __call__(self, frame: av.VideoFrame, pictures: Pictures) -> list[_Palm]:
        return [_Palm(piece_of_palm(spot)) for spot in self._spotter(frame, pictures)]


def piece_of_palm(spot: Spot) -> Piece:
    """The piece that holds the whole hand, turned so that the fingers point up."""
    left, top, right, bottom = spot.box
    roll = _upright(spot.points[_WRIST], spot.points[_MIDDLE_KNUCKLE])
    along = _PALM_SHIFT * (bottom - top)
    x, y = (left + right) / 2 + along * np.sin(roll), (top + bottom) / 2 - along * np.cos(roll)
    return Piece(float(x), float(y), _PALM_SIDE * float(max(right - left, bottom - top)), roll)


def _upright(below: Points, above: Points) -> float:
    """Clockwise rotation of the line from `below` to `above` against upright, in radians."""
    x, y = above - below
    return float(np.arctan2(x, -y))


class HandJoints:
    """Runs on pieces that hold one hand."""

    def __init__(self, folder: Path) -> None:
        self._network = Network(folder / _JOINTS)

    def __call__(self, frame: av.VideoFrame, piece: Piece, pictures: Pictures) -> Hand:
        """`frame` is planar."""
        side = self._network.side
        rows, _, score, right = self._network(cut_piece(frame, piece, side, pictures, edges=True))
        points = to_picture(rows.reshape(-1, 3).astype(np.float64), piece, side)
        # The last output is the sureness of a left hand, but for mirrored pictures like selfies.
        return Hand(points[:, :2], float(score.ravel()[0]), float(right.ravel()[0]))
