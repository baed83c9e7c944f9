"""Assigns bodies to faces, by the face that the body's nose is in, and hands to bodies, by their wrists."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from corpus.schemas.joints import BODY_JOINTS, LEAST_VISIBLE, Bodies, Hands
from corpus.schemas.sight import Faces, Seen

_COMMON = 0.5
"""A face and a body, or a body and a hand, must go together in this share of the pictures with both."""
_NOSE = BODY_JOINTS.index("nose")
_WRISTS = (BODY_JOINTS.index("left_wrist"), BODY_JOINTS.index("right_wrist"))
_REACH = 0.5
"""A hand is at a wrist if its own wrist is nearer to it than this many times its size."""

_Marks = npt.NDArray[np.bool_]


def faces_of_bodies(seen: Seen) -> dict[int, int]:
    """The face of each body that has one: the face that its nose is in most often."""
    return {
        body.id: face
        for body in seen.head.bodies
        for face in (_best(seen.of_body(body.id), [t.id for t in seen.head.tracks], seen),)
        if face is not None
    }


def _best(body: Bodies, faces: list[int], seen: Seen) -> int | None:
    counts: dict[int, int] = {}
    for face in faces:
        rows = seen.of_track(face)
        _, of_body, of_face = np.intersect1d(body["frame"], rows["frame"], return_indices=True)
        inside = int(_nose_inside(body[of_body], rows[of_face]).sum())
        if inside and inside >= _COMMON * len(of_body):
            counts[face] = inside
    return max(sorted(counts), key=lambda face: counts[face]) if counts else None


def _nose_inside(body: Bodies, face: Faces) -> _Marks:
    nose, box = body["points"][:, _NOSE], face["box"]
    inside: _Marks = np.all((nose >= box[:, :2]) & (nose <= box[:, 2:]), axis=1)
    return inside


def bodies_of_hands(seen: Seen) -> dict[int, int]:
    """The body of each hand that is at a body's wrist in most pictures with both."""
    owners: dict[int, int] = {}
    for hand in seen.head.hands:
        rows, counts = seen.of_hand(hand.id), dict[int, int]()
        for body in seen.head.bodies:
            others = seen.of_body(body.id)
            _, of_hand, of_body = np.intersect1d(rows["frame"], others["frame"], return_indices=True)
            near = int(_at_a_wrist(rows[of_hand], others[of_body], seen).sum())
            if near and near >= _COMMON * len(of_hand):
                counts[body.id] = near
        if counts:
            owners[hand.id] = max(sorted(counts), key=lambda body: counts[body])
    return owners


def _at_a_wrist(hands: Hands, bodies: Bodies, seen: Seen) -> _Marks:
    shape = np.array((seen.head.width, seen.head.height))
    points = hands["points"] * shape
    size = np.hypot(*np.moveaxis(points.max(1) - points.min(1), -1, 0))
    near = np.zeros(len(hands), bool)
    for wrist in _WRISTS:
        apart = np.hypot(*(points[:, 0] - bodies["points"][:, wrist] * shape).T)
        near |= (apart <= _REACH * size) & (bodies["visible"][:, wrist] >= LEAST_VISIBLE)
    return near


def speakers_of_bodies(seen: Seen, speakers: Mapping[int, str]) -> dict[int, str]:
    """The speaker of each body whose face belongs to one; `speakers` are those of the faces."""
    faces = faces_of_bodies(seen)
    return {body: speakers[face] for body, face in faces.items() if face in speakers}


def speakers_of_hands(seen: Seen, of_bodies: Mapping[int, str]) -> dict[int, str]:
    owners = bodies_of_hands(seen)
    return {hand: of_bodies[body] for hand, body in owners.items() if body in of_bodies}
