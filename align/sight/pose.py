"""The pose of a head and the opening of its mouth, from the points of a mesh."""

from __future__ import annotations

import numpy as np

from corpus.align.sight.mesh import LEFT_EYE, RIGHT_EYE
from corpus.align.sight.piece import Points

_FOREHEAD, _UNDER_NOSE, _CHIN = 10, 2, 152
_UPPER_LIP, _LOWER_LIP = 13, 14


def head_pose(points: Points) -> tuple[float, float, float]:
    """Yaw, pitch and roll in degrees: towards the picture's right, down, clockwise."""
    across = points[LEFT_EYE] - points[RIGHT_EYE]
    across = across / np.linalg.norm(across)
    down = points[_UNDER_NOSE] - points[_FOREHEAD]  # not the chin: talking moves it
    down = down - across * (down @ across)
    down = down / np.linalg.norm(down)
    inward = _cross(across, down)  # x right, y down, z away from the camera: from the face into the head
    forward = -inward
    yaw = np.degrees(np.arctan2(forward[0], -forward[2]))
    pitch = np.degrees(np.arctan2(forward[1], np.hypot(forward[0], forward[2])))
    roll = np.degrees(np.arctan2(across[1], across[0]))
    return float(yaw), float(pitch), float(roll)


def _cross(a: Points, b: Points) -> Points:
    """The cross product of two vectors; np.cross would take longer than everything else here."""
    return np.array((a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]))


def mouth_opening(points: Points) -> float:
    """Distance of the inner lips as a share of the face's height."""
    lips = np.linalg.norm(points[_LOWER_LIP, :2] - points[_UPPER_LIP, :2])
    height = np.linalg.norm(points[_CHIN] - points[_FOREHEAD])
    return float(lips / max(float(height), 1e-9))
