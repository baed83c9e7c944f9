"""Joints of hands and bodies as stored by sight: their names, and one row per sampled picture.

Positions are fractions of the picture as displayed, (0, 0) at its upper left. They may lie outside it: the
network predicts joints beyond the picture's edge. Left and right are the person's own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from corpus.schemas.span import Span

HAND_JOINTS: tuple[str, ...] = (
    *("wrist", "thumb_base", "thumb_knuckle", "thumb_joint", "thumb_tip"),
    *(
        f"{finger}_{joint}"
        for finger in ("index", "middle", "ring", "little")
        for joint in ("knuckle", "middle", "end", "tip")
    ),
)
BODY_JOINTS: tuple[str, ...] = (
    *("nose", "left_eye_inner", "left_eye", "left_eye_outer", "right_eye_inner", "right_eye"),
    *("right_eye_outer", "left_ear", "right_ear", "left_mouth_corner", "right_mouth_corner"),
    *(
        f"{side}_{joint}"
        for joint in ("shoulder", "elbow", "wrist", "little", "index", "thumb")
        for side in ("left", "right")
    ),
    *(f"{side}_{joint}" for joint in ("hip", "knee", "ankle", "heel", "toes") for side in ("left", "right")),
)

HAND_DTYPE: npt.DTypeLike = np.dtype(
    [
        ("frame", "<i4"),
        ("track", "<i4"),
        ("score", "<f4"),
        ("right", "<f4"),
        ("points", "<f4", (len(HAND_JOINTS), 2)),
    ]
)
"""`score`: in [0, 1], how sure it is that this is a hand. `right`: in [0, 1], how sure it is that it is a
right hand. A hand that is not seen in a picture has no row there; one that is seen has all its joints."""

BODY_DTYPE: npt.DTypeLike = np.dtype(
    [
        ("frame", "<i4"),
        ("track", "<i4"),
        ("score", "<f4"),
        ("points", "<f4", (len(BODY_JOINTS), 2)),
        ("visible", "<f4", (len(BODY_JOINTS),)),
    ]
)
"""`score`: in [0, 1], how sure it is that this is a body. `visible`: in [0, 1], for each joint, how sure it
is that it is in the picture and not hidden; otherwise its position is a guess. A body that is not seen in a
picture has no row there."""

LEAST_VISIBLE = 0.5
"""A joint less visible than this is neither shown nor used."""

Hands = npt.NDArray[np.void]
Bodies = npt.NDArray[np.void]


@dataclass(frozen=True, slots=True, kw_only=True)
class JointTrack:
    """One hand or body followed from picture to picture. A cut ends every track."""

    id: int
    start_us: int
    stop_us: int
    frames: int
    """Sampled pictures in which it was seen."""

    @property
    def span(self) -> Span:
        return Span(self.start_us, self.stop_us)


def no_hands() -> Hands:
    return np.zeros(0, HAND_DTYPE)


def no_bodies() -> Bodies:
    return np.zeros(0, BODY_DTYPE)
