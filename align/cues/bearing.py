"""visual / gaze_away, posture: the head is turned away from where it mostly points; it has moved and stays.

Eyes are too small in most pictures, so the direction of the head stands for the gaze.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from corpus.schemas.clock import WINDOW_US
from corpus.schemas.conversation import Cue
from corpus.schemas.evidence import as_json
from corpus.schemas.settings import VisualSettings
from corpus.schemas.sight import Faces, FaceTrack, Seen
from corpus.schemas.span import Span, union

ORIGIN_GAZE, ORIGIN_POSTURE = "gaze/1", "posture/1"
LEAST_TRACK_US = 5_000_000
"""A head's usual direction needs a track of this length."""
BRIDGE_US = 200_000


def gaze_away(seen: Seen, speakers: Mapping[int, str], settings: VisualSettings) -> list[Cue]:
    """Stretches in which a head is turned away for long enough."""
    cues: list[Cue] = []
    for track, rows, times in _lasting(seen):
        turned = rows["pose"][:, :2] - np.median(rows["pose"][:, :2], axis=0)
        degrees = np.abs(turned).max(1)
        away = [Span(int(t), int(t) + seen.head.period_us) for t in times[degrees >= settings.gaze_degrees]]
        for span in union(away, bridge_us=BRIDGE_US):
            if span.duration_us < settings.gaze_us:
                continue
            inside = (times >= span.start_us) & (times < span.stop_us)
            furthest = round(float(degrees[inside].max()), 1)
            cues.append(
                Cue(
                    label="visual",
                    kind="gaze_away",
                    speaker=speakers.get(track.id),
                    start_us=span.start_us,
                    stop_us=span.stop_us,
                    confidence=0.6,
                    origin=ORIGIN_GAZE,
                    thresholds=as_json(gaze_degrees=settings.gaze_degrees, gaze_us=settings.gaze_us),
                    evidence=as_json(track=track.id, degrees=furthest),
                )
            )
    return cues


def posture(seen: Seen, speakers: Mapping[int, str], settings: VisualSettings) -> list[Cue]:
    """Moments at which a head moves to another place or distance and stays there."""
    cues: list[Cue] = []
    for track, rows, times in _lasting(seen):
        for at, moved in _moves(rows, times, settings):
            cues.append(
                Cue(
                    label="visual",
                    kind="posture",
                    speaker=speakers.get(track.id),
                    start_us=at,
                    stop_us=at + WINDOW_US,
                    confidence=0.6,
                    origin=ORIGIN_POSTURE,
                    thresholds=as_json(
                        posture_heights=settings.posture_heights, posture_us=settings.posture_us
                    ),
                    evidence=as_json(track=track.id, heights=round(moved, 2)),
                )
            )
    return cues


def _lasting(seen: Seen) -> list[tuple[FaceTrack, Faces, npt.NDArray[np.int64]]]:
    alive = [t for t in seen.head.tracks if not t.still and t.span.duration_us >= LEAST_TRACK_US]
    pairs = [(track, seen.of_track(track.id)) for track in alive]
    return [(track, rows, seen.times_us[rows["frame"]]) for track, rows in pairs]


def _moves(rows: Faces, times: npt.NDArray[np.int64], settings: VisualSettings) -> list[tuple[int, float]]:
    """(time, face heights moved) where the places before and after are apart, at their steepest."""
    box = rows["box"].astype(np.float64)
    height = np.maximum(box[:, 3] - box[:, 1], 1e-6)
    # Width and height are shares of different sides: a face is about as wide as high.
    width = np.maximum(box[:, 2] - box[:, 0], 1e-6)
    across = (box[:, 0] + box[:, 2]) / 2 / np.median(width)
    place = np.stack((across, box[:, 1] / np.median(height), np.log(height)), axis=1)
    found: list[tuple[int, float]] = []
    starts = np.searchsorted(times, times - settings.posture_us)
    stops = np.searchsorted(times, times + settings.posture_us, "right")
    apart = np.zeros(len(times))
    for at in range(len(times)):
        if times[0] > times[at] - settings.posture_us or times[-1] < times[at] + settings.posture_us:
            continue
        before, after = place[starts[at] : at], place[at : stops[at]]
        if len(before) < 5 or len(after) < 5:
            continue
        # The two sides differ by more than either varies within itself: the head has settled.
        spread = np.ptp(np.percentile(before, (15, 85), axis=0), axis=0)
        spread = np.maximum(spread, np.ptp(np.percentile(after, (15, 85), axis=0), axis=0))
        step = np.abs(np.median(after, axis=0) - np.median(before, axis=0)) - spread
        apart[at] = step.max()
    while apart.size and apart.max() >= settings.posture_heights:
        best = np.flatnonzero(apart >= 0.99 * apart.max())
        near = best[times[best] < times[best[0]] + settings.posture_us]
        at = int(near[len(near) // 2])  # medians are as far apart a little before and after
        found.append((int(times[at]), float(apart[at])))
        # Greedy: take the clearest move, then forget everything near it.
        apart[(times > times[at] - settings.posture_us) & (times < times[at] + settings.posture_us)] = 0
    return sorted(found)
