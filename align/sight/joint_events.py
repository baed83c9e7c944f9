"""Events of hands and bodies: where the joints of each are in every window."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from corpus.align.sight.events import ORIGIN, PLACES, stretches
from corpus.align.sight.whose_joints import speakers_of_bodies, speakers_of_hands
from corpus.schemas.clock import WINDOW_US
from corpus.schemas.conversation import Event
from corpus.schemas.evidence import as_json
from corpus.schemas.joints import BODY_JOINTS, LEAST_VISIBLE, JointTrack
from corpus.schemas.sight import Seen

TOLD = tuple(
    name
    for name in BODY_JOINTS
    if name == "nose" or name.endswith(("shoulder", "elbow", "wrist", "hip", "knee", "ankle"))
)
"""The joints of a body that go into events; the artifact of sight has all of them."""

Told = Sequence[list[int] | None]
"""Each joint's place in thousandths of the picture's sides, or None if it is not visible."""


def joint_events(seen: Seen, speakers: Mapping[int, str]) -> list[Event]:
    """For each hand or body and five seconds, an event with its joints by window; `speakers` are by face."""
    of_bodies = speakers_of_bodies(seen, speakers)
    of_hands = speakers_of_hands(seen, of_bodies)
    events: list[Event] = []
    for track in seen.head.hands:
        rows = seen.of_hand(track.id)
        side = "right" if float(np.median(rows["right"])) >= 0.5 else "left"
        places = [_places(points, None) for points in rows["points"]]
        events += _events("hand", side, of_hands.get(track.id), track, places, rows["frame"], seen)
    shown = [BODY_JOINTS.index(name) for name in TOLD]
    for track in seen.head.bodies:
        rows = seen.of_body(track.id)
        places = [_places(row["points"][shown], row["visible"][shown]) for row in rows]
        events += _events("body", "", of_bodies.get(track.id), track, places, rows["frame"], seen)
    return events


def _places(points: npt.NDArray[np.float32], visible: npt.NDArray[np.float32] | None) -> Told:
    places = [[round(float(x) * PLACES), round(float(y) * PLACES)] for x, y in points]
    if visible is None:
        return places
    return [
        place if float(sure) >= LEAST_VISIBLE else None for place, sure in zip(places, visible, strict=True)
    ]


def _events(
    label: str,
    kind: str,
    speaker: str | None,
    track: JointTrack,
    told: Sequence[Told],
    frames: npt.NDArray[np.int32],
    seen: Seen,
) -> list[Event]:
    events: list[Event] = []
    windows = seen.times_us[frames] // WINDOW_US
    for inside in stretches(windows):
        at = np.flatnonzero(inside)
        start, stop = int(windows[at[0]]), int(windows[at[-1]]) + 1
        joints: list[Told | None] = [None] * (stop - start)
        for number in at:
            joints[int(windows[number]) - start] = told[int(number)]
        shape = (seen.head.width, seen.head.height)
        names = TOLD if label == "body" else None
        payload = as_json(track=track.id, shape=shape, joints=joints, names=names)
        events.append(
            Event(
                label=label,
                kind=kind,
                speaker=speaker,
                start_us=start * WINDOW_US,
                stop_us=stop * WINDOW_US,
                origin=ORIGIN,
                payload=payload,
            )
        )
    return events
