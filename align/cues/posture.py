"""visual / posture: somebody has moved to another position or distance and stays there.

This is seen from the head and, if bodies are looked for, from the shoulders: those of a face confirm its head
or not, and a body whose face has no such cue gets one of its own.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from corpus.align.cues.bearing import lasting
from corpus.align.sight.whose_joints import faces_of_bodies
from corpus.schemas.clock import WINDOW_US
from corpus.schemas.conversation import Cue
from corpus.schemas.evidence import as_json
from corpus.schemas.joints import BODY_JOINTS, LEAST_VISIBLE
from corpus.schemas.settings import VisualSettings
from corpus.schemas.sight import Faces, Seen
from corpus.schemas.span import Span

_ORIGIN = "posture/2"
_LEAST_TRACK_US = 5_000_000
_SHOULDERS = (BODY_JOINTS.index("left_shoulder"), BODY_JOINTS.index("right_shoulder"))
_HEAD = 0.6
"""A head's height over the distance of the shoulders."""
FIRM, PLAIN, DOUBTFUL = 0.8, 0.6, 0.4
"""Confidence where the shoulders went with the head, where they are not known, and where they stayed."""
_FOLLOWED = 0.5
"""Share of `posture_heights` by which shoulders that went along have moved."""

Times = npt.NDArray[np.int64]
Places = npt.NDArray[np.float64]
"""(pictures, 3): across and down in head heights, and the logarithm of the size."""


def posture(seen: Seen, speakers: Mapping[int, str], settings: VisualSettings) -> list[Cue]:
    """Moments at which somebody's head or shoulders move to another position or distance and stay there."""
    bodies = _bodies(seen)
    owners = faces_of_bodies(seen)
    cues: list[Cue] = []
    of_faces: dict[int, list[int]] = {}
    for track, rows, times in lasting(seen):
        for time_us, heights in _moves(_of_face(rows), times, settings):
            of_faces.setdefault(track.id, []).append(time_us)
            evidence: dict[str, object] = {"track": track.id, "heights": round(heights, 2)}
            confidence = PLAIN
            for body, (places, seen_us) in bodies.items():
                if owners.get(body) == track.id:
                    moved = _moved(places, seen_us, time_us, settings)
                    if moved is not None:
                        evidence |= {"body": body, "shoulders_heights": round(moved, 2)}
                        confidence = FIRM if moved >= _FOLLOWED * settings.posture_heights else DOUBTFUL
            cues.append(_cue(time_us, speakers.get(track.id), confidence, evidence, settings))
    for body, (places, seen_us) in bodies.items():
        face = owners.get(body, -1)
        for time_us, heights in _moves(places, seen_us, settings):
            if any(abs(time_us - other) < settings.posture_us for other in of_faces.get(face, ())):
                continue
            evidence = {"body": body, "shoulders_heights": round(heights, 2)}
            cues.append(_cue(time_us, speakers.get(face), PLAIN, evidence, settings))
    return cues


def _cue(
    time_us: int,
    speaker: str | None,
    confidence: float,
    evidence: dict[str, object],
    settings: VisualSettings,
) -> Cue:
    return Cue(
        label="visual",
        kind="posture",
        speaker=speaker,
        start_us=time_us,
        stop_us=time_us + WINDOW_US,
        confidence=confidence,
        origin=_ORIGIN,
        thresholds=as_json(posture_heights=settings.posture_heights, posture_us=settings.posture_us),
        evidence=as_json(**evidence),
    )


def _of_face(rows: Faces) -> Places:
    box = rows["box"].astype(np.float64)
    height = np.maximum(box[:, 3] - box[:, 1], 1e-6)
    # Width and height are shares of different sides: a face is about as wide as high.
    width = np.maximum(box[:, 2] - box[:, 0], 1e-6)
    across = (box[:, 0] + box[:, 2]) / 2 / np.median(width)
    return np.stack((across, box[:, 1] / np.median(height), np.log(height)), axis=1)


def _bodies(seen: Seen) -> dict[int, tuple[Places, Times]]:
    """Where the shoulders of each body that lasts are, in the pictures in which both are to be seen."""
    shape = np.array((seen.head.width, seen.head.height), np.float64)
    bodies: dict[int, tuple[Places, Times]] = {}
    for track in seen.head.bodies:
        rows = seen.of_body(track.id)
        rows = rows[(rows["visible"][:, _SHOULDERS] >= LEAST_VISIBLE).all(1)]
        times = seen.times_us[rows["frame"]]
        if not len(rows) or int(times[-1] - times[0]) < _LEAST_TRACK_US:
            continue
        left, right = (rows["points"][:, at].astype(np.float64) * shape for at in _SHOULDERS)
        apart = np.maximum(np.hypot(*(left - right).T), 1e-6)
        middle = (left + right) / 2 / (_HEAD * np.median(apart))
        # Somebody who turns aside has their shoulders nearer to each other: that, too, is another posture.
        bodies[track.id] = np.concatenate((middle, np.log(apart)[:, None]), axis=1), times
    return bodies


def _moves(places: Places, times: Times, settings: VisualSettings) -> list[tuple[int, float]]:
    """(time, heights moved) where the places before and after are apart, at their steepest."""
    moves: list[tuple[int, float]] = []
    apart = np.zeros(len(times))
    for at, time_us in enumerate(times):
        if settings.posture_us <= time_us - times[0] and settings.posture_us <= times[-1] - time_us:
            apart[at] = _moved(places, times, int(time_us), settings) or 0
    while apart.size and apart.max() >= settings.posture_heights:
        best = np.flatnonzero(apart >= 0.99 * apart.max())
        near = best[times[best] < times[best[0]] + settings.posture_us]
        at = int(near[len(near) // 2])  # medians are as far apart a little before and after
        moves.append((int(times[at]), float(apart[at])))
        # Greedy: take the clearest move, then forget everything near it.
        apart[(times > times[at] - settings.posture_us) & (times < times[at] + settings.posture_us)] = 0
    return sorted(moves)


def _moved(places: Places, times: Times, time_us: int, settings: VisualSettings) -> float | None:
    """By how much the places before and after a time are apart; None where too few are known."""
    before, after = (
        places[np.searchsorted(times, span.start_us) : np.searchsorted(times, span.stop_us)]
        for span in (
            Span(max(0, time_us - settings.posture_us), time_us),
            Span(time_us, time_us + settings.posture_us + 1),
        )
    )
    if len(before) < 5 or len(after) < 5:
        return None
    # The two sides differ by more than either varies within itself: they have settled.
    spread = np.ptp(np.percentile(before, (15, 85), axis=0), axis=0)
    spread = np.maximum(spread, np.ptp(np.percentile(after, (15, 85), axis=0), axis=0))
    step = np.abs(np.median(after, axis=0) - np.median(before, axis=0)) - spread
    return float(step.max())
