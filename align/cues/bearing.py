"""visual / gaze_away: the head is turned away from its usual direction.

Eyes are too small in most pictures, so the direction of the head is used as the gaze.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from corpus.schemas.conversation import Cue
from corpus.schemas.evidence import as_json
from corpus.schemas.settings import VisualSettings
from corpus.schemas.sight import Faces, FaceTrack, Seen
from corpus.schemas.span import Span, union

_ORIGIN = "gaze/1"
_LEAST_TRACK_US = 5_000_000
"""A head's usual direction needs a track of this length."""
_BRIDGE_US = 200_000


def gaze_away(seen: Seen, speakers: Mapping[int, str], settings: VisualSettings) -> list[Cue]:
    """Stretches in which a head is turned away for long enough."""
    cues: list[Cue] = []
    for track, rows, times in lasting(seen):
        turned = rows["pose"][:, :2] - np.median(rows["pose"][:, :2], axis=0)
        degrees = np.abs(turned).max(1)
        away = [Span(int(t), int(t) + seen.head.period_us) for t in times[degrees >= settings.gaze_degrees]]
        for span in union(away, bridge_us=_BRIDGE_US):
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
                    origin=_ORIGIN,
                    thresholds=as_json(gaze_degrees=settings.gaze_degrees, gaze_us=settings.gaze_us),
                    evidence=as_json(track=track.id, degrees=furthest),
                )
            )
    return cues


def lasting(seen: Seen) -> list[tuple[FaceTrack, Faces, npt.NDArray[np.int64]]]:
    """Faces that are alive and seen for long enough, with their rows and times."""
    alive = [t for t in seen.head.tracks if not t.still and t.span.duration_us >= _LEAST_TRACK_US]
    pairs = [(track, seen.of_track(track.id)) for track in alive]
    return [(track, rows, seen.times_us[rows["frame"]]) for track, rows in pairs]
