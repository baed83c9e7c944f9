"""visual / nod, shake: the head goes down and up, or left and right, more than once and quickly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from corpus.schemas.conversation import Cue
from corpus.schemas.evidence import as_json
from corpus.schemas.settings import VisualSettings
from corpus.schemas.sight import FaceTrack, Seen

_ORIGIN = "head/1"
_AXES = {"nod": 1, "shake": 0}
"""Place of the angle in `pose`."""
_SLOWEST_US = 600_000
"""From one turning point to the next; a slower movement is a look aside or a change of posture."""
_SWINGS = 3
"""Movements one way and back: down, up, down."""
_QUIET_MOUTH = 0.012
"""Mouth movement above which the jaw may pass for the head: nothing is said then."""
_OTHER_AXIS = 1.0
"""The movement is larger in its own angle than in the other one."""

_Angles = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Swing:
    """Consecutive turning points of an angle."""

    times_us: tuple[int, ...]
    degrees: float
    """The least of its movements."""


def head(seen: Seen, speakers: Mapping[int, str], settings: VisualSettings) -> list[Cue]:
    """Nods and shakes of every face that is alive."""
    cues: list[Cue] = []
    least = {"nod": settings.nod_degrees, "shake": settings.shake_degrees}
    for track in seen.head.tracks:
        if track.still:
            continue
        rows = seen.of_track(track.id)
        times = seen.times_us[rows["frame"]]
        for kind, axis in _AXES.items():
            angles = rows["pose"][:, axis].astype(np.float64)
            other = rows["pose"][:, 1 - axis].astype(np.float64)
            for swing in _swings(times, angles, least[kind]):
                inside = (times >= swing.times_us[0]) & (times <= swing.times_us[-1])
                quiet = float(rows["mouth_movement"][inside].mean()) <= _QUIET_MOUTH
                if quiet and np.ptp(angles[inside]) > _OTHER_AXIS * np.ptp(other[inside]):
                    cues.append(_cue(kind, swing, track, speakers.get(track.id), settings))
    return cues


def _swings(times_us: npt.NDArray[np.int64], angles: _Angles, least: float) -> list[_Swing]:
    """Runs of at least SWINGS movements of `least` degrees and more, each quick."""
    swings: list[_Swing] = []
    run: list[int] = []
    for before, after in pairwise(turning_points(angles, least)):
        if times_us[after] - times_us[before] <= _SLOWEST_US:
            run = [*run, after] if run and run[-1] == before else [before, after]
            continue
        swings += _swing(run, times_us, angles)
        run = []
    return swings + _swing(run, times_us, angles)


def turning_points(angles: _Angles, least: float) -> list[int]:
    """Alternating highs and lows of an angle that lie at least `least` apart."""
    points: list[int] = []
    high = low = 0
    rising: bool | None = None
    for at in range(1, len(angles)):
        if angles[at] > angles[high]:
            high = at
        if angles[at] < angles[low]:
            low = at
        if rising is not False and angles[high] - angles[at] >= least:
            points.append(high)
            rising, low = False, at
        elif rising is not True and angles[at] - angles[low] >= least:
            points.append(low)
            rising, high = True, at
    if rising is not None:
        points.append(high if rising else low)
    return points


def _swing(run: list[int], times_us: npt.NDArray[np.int64], angles: _Angles) -> list[_Swing]:
    if len(run) <= _SWINGS:
        return []
    degrees = min(abs(float(angles[b] - angles[a])) for a, b in pairwise(run))
    return [_Swing(tuple(int(times_us[at]) for at in run), degrees)]


def _cue(kind: str, swing: _Swing, track: FaceTrack, speaker: str | None, settings: VisualSettings) -> Cue:
    return Cue(
        label="visual",
        kind=kind,
        speaker=speaker,
        start_us=swing.times_us[0],
        stop_us=swing.times_us[-1],
        confidence=0.6,
        origin=_ORIGIN,
        thresholds=as_json(
            nod_degrees=settings.nod_degrees,
            shake_degrees=settings.shake_degrees,
            slowest_us=_SLOWEST_US,
            swings=_SWINGS,
            quiet_mouth=_QUIET_MOUTH,
        ),
        evidence=as_json(track=track.id, swings=len(swing.times_us) - 1, degrees=round(swing.degrees, 1)),
    )
