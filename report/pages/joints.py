"""Joints of hands and bodies in each picture of a clip, as lines drawn over the picture."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

from corpus.report.pages.faces import PLACES, bars_of
from corpus.report.pages.lanes import tone_of
from corpus.schemas.clip import ClipHead
from corpus.schemas.conversation import Event
from corpus.schemas.joints import HAND_JOINTS

_HAND = tuple(
    (chain[n], chain[n + 1])
    for chain in (
        (0, 1, 2, 3, 4),
        (0, 5, 6, 7, 8),
        (9, 10, 11, 12),
        (13, 14, 15, 16),
        (0, 17, 18, 19, 20),
        (5, 9, 13, 17),
    )
    for n in range(len(chain) - 1)
)
_BODY = (
    *(("left_shoulder", "right_shoulder"), ("left_hip", "right_hip")),
    *((f"{side}_shoulder", f"{side}_hip") for side in ("left", "right")),
    *(
        (f"{side}_{upper}", f"{side}_{lower}")
        for side in ("left", "right")
        for upper, lower in (("shoulder", "elbow"), ("elbow", "wrist"), ("hip", "knee"), ("knee", "ankle"))
    ),
)
LABELS = frozenset(("hand", "body"))

_Joints = list[list[float] | None]


def lines_of_joints(head: ClipHead) -> str:
    """JSON: for each window of the clip that has joints, lists of a tone and an SVG path.

    Positions are percentages of the clip's picture, as for faces. An event whose payload is not in sight's
    form is skipped: a clip may come from anywhere.
    """
    lines: dict[int, list[tuple[str, str]]] = {}
    for event in head.events:
        if event.label not in LABELS or head.video is None:
            continue
        shape, names, windows = _payload(event)
        left, top, wide, high = bars_of(shape, head.video.width, head.video.height)
        first = event.start_us // head.window_us - head.first_window
        for number, joints in enumerate(windows, start=first):
            if joints is None or not 0 <= number < head.windows:
                continue
            placed = [
                (round(100 * (left + p[0] / PLACES * wide), 1), round(100 * (top + p[1] / PLACES * high), 1))
                if p
                else None
                for p in joints
            ]
            path = "".join(
                f"M{a[0]} {a[1]}L{b[0]} {b[1]}"
                for start, stop in _bones(names)
                if (a := placed[start]) is not None and (b := placed[stop]) is not None
            )
            lines.setdefault(number, []).append((tone_of(event.speaker, head.speakers), path))
    return json.dumps(lines, sort_keys=True, separators=(",", ":"))


def _bones(names: Sequence[str]) -> list[tuple[int, int]]:
    """Pairs of places in `names` between which there is a line."""
    if names == HAND_JOINTS:
        return list(_HAND)
    at = {name: number for number, name in enumerate(names)}
    return [(at[a], at[b]) for a, b in _BODY if a in at and b in at]


def _payload(event: Event) -> tuple[tuple[float, float], Sequence[str], list[_Joints | None]]:
    """The shape of the recording's picture, the joints' names, and the places in each window, if any."""
    nothing: tuple[tuple[float, float], Sequence[str], list[_Joints | None]] = ((1.0, 1.0), (), [])
    try:
        fields = json.loads(event.payload)
        width, height = (float(v) for v in fields["shape"])
        names = HAND_JOINTS if event.label == "hand" else tuple(str(name) for name in fields["names"])
        windows = [None if joints is None else [_place(p) for p in joints] for joints in fields["joints"]]
    except (ValueError, KeyError, TypeError, RecursionError):
        return nothing
    good = width > 0 and height > 0 and math.isfinite(width + height)
    whole = all(joints is None or len(joints) == len(names) for joints in windows)
    return ((width, height), names, windows) if good and whole else nothing


def _place(place: Sequence[float] | None) -> list[float] | None:
    if place is None:
        return None
    x, y = (float(v) for v in place)
    if not math.isfinite(x + y):
        raise ValueError("a place without end")
    return [x, y]
