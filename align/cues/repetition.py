"""visual / repetition: a repeated movement, its period and count, as push-ups are counted.

A movement between two rests is compared with itself at different lags. At each lag with high similarity it is
followed from return to return: about once per period the picture looks as it did before the movement began,
sooner or later as the tempo changes. The shortest lag whose returns reach the movement's end is its period.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from corpus.align.cues.motion import movements
from corpus.schemas.conversation import Cue, CueSpan
from corpus.schemas.evidence import as_json
from corpus.schemas.settings import VisualSettings
from corpus.schemas.sight import Seen
from corpus.schemas.span import Span

_ORIGIN = "repetition/2"
_FINER = 3
"""Interpolation factor between pictures, so that a return is placed within a third of a picture's time."""
_EARLY, _LATE = 0.6, 1.4
"""A return is looked for between these shares of a period after the one before."""
_NEAR_BEST = 0.85
"""Where no period explains the whole movement: the shortest lag this near the best similarity."""
_LONGEST_US = 180_000_000
"""Longer movements are a moving camera or people talking; they are not searched."""
_RETURNED = 0.4
"""Having come back, the picture is nearer to the rest than this share of how far it went."""
_GONE = 0.5
"""In between it must have gone at least this far; otherwise it was at rest."""

_Poses = npt.NDArray[np.float64]
"""(moments, parts): how the parts of the picture that change look at each moment."""


@dataclass(frozen=True, slots=True)
class _Counted:
    """A repeated movement on a fine grid of moments."""

    returns: tuple[int, ...]
    """The rest before, then the end of each repetition."""
    period: float
    alike: float


def repetition(seen: Seen, settings: VisualSettings) -> list[Cue]:
    """One cue for each movement between two rests that is a repetition."""
    cues: list[Cue] = []
    spans = movements(seen, settings, rest_us=settings.repetition_longest_us // 2)
    ends_us = [*(span.start_us for span in spans), seen.head.stop_us][1:]
    for span, end_us in zip(spans, ends_us, strict=True):
        if span.duration_us > _LONGEST_US:
            continue
        step_us = seen.head.period_us / _FINER
        start_us = span.start_us - seen.head.period_us
        # A movement may pause at its far end: the last return may lie in the rest that follows.
        behind_us = min(end_us, span.stop_us + settings.repetition_longest_us // 2)
        poses = _poses(seen, Span(max(0, start_us), max(behind_us, span.stop_us)), step_us)
        moving = 1 + round((span.stop_us + seen.head.period_us - max(0, start_us)) / step_us)
        lags = [
            round(us / step_us) for us in (settings.repetition_shortest_us, settings.repetition_longest_us)
        ]
        counted = count(poses, moving, (lags[0], lags[1]), settings.repetition_alike)
        if counted and len(counted.returns) > settings.repetition_least:
            cues.append(_cue(counted, max(0, start_us), step_us, settings))
    return cues


def count(poses: _Poses, moving: int, lags: tuple[int, int], least_alike: float) -> _Counted | None:
    """How often the movement of the first `moving` poses is repeated; None if it is not."""
    peaks = _peaks(poses[:moving], lags, least_alike)
    if not peaks:
        return None
    away = np.sqrt(((poses - poses[0]) ** 2).sum(1))
    far = float(np.percentile(away[:moving], 90))
    # Where each repetition takes its own time, twice the period may look more alike than the period does.
    # It is the shortest one whose returns leave nothing of the movement over.
    for period, alike in peaks:
        returns = _returns(away, far, period)
        if len(returns) > 1 and returns[-1] >= moving - _LATE * period:
            return _Counted(returns, period, alike)
    best = max(alike for _, alike in peaks)
    period, alike = next(peak for peak in peaks if peak[1] >= _NEAR_BEST * best)
    return _Counted(_returns(away, far, period), period, alike)


def _returns(away: npt.NDArray[np.float64], far: float, period: float) -> tuple[int, ...]:
    """The rest before the movement, then each return to it, about a period apart, until there is none."""
    returns = [0]
    while True:
        low, high = returns[-1] + round(_EARLY * period), returns[-1] + round(_LATE * period)
        window = away[low : high + 1]
        if not len(window):
            break
        # Of equally good returns the one in time: at rest between two repetitions many are the same.
        cost = (
            window / max(far, 1e-9)
            + 0.1 * np.abs(np.arange(len(window)) + low - returns[-1] - period) / period
        )
        at = low + int(np.argmin(cost))
        if away[at] > _RETURNED * far or away[returns[-1] : at + 1].max() < _GONE * far:
            break
        returns.append(at)
    return tuple(returns)


def _peaks(poses: _Poses, lags: tuple[int, int], least_alike: float) -> list[tuple[float, float]]:
    """Lags at which the movement is more like itself than at those beside, shortest first, and how alike."""
    centred = poses - poses.mean(0)
    longest = min(lags[1], int(len(centred) * 0.75))
    if longest <= lags[0] + 1:
        return []
    alike = np.full(longest + 2, -1.0)
    for lag in range(1, longest + 2):
        first, second = centred[:-lag], centred[lag:]
        if len(first) < 2:
            break
        size = np.sqrt((first**2).sum() * (second**2).sum())
        alike[lag] = float((first * second).sum() / max(size, 1e-9))
    return [
        (float(lag), float(alike[lag]))
        for lag in range(max(2, lags[0]), longest + 1)
        if alike[lag] >= max(alike[lag - 1], alike[lag + 1], least_alike)
    ]


def _poses(seen: Seen, span: Span, step_us: float) -> _Poses:
    """The parts that change, at even steps over the span, the light of the whole picture taken off."""
    times = seen.times_us
    first = max(0, int(np.searchsorted(times, span.start_us, "right")) - 1)
    stop = min(len(times), int(np.searchsorted(times, span.stop_us, "left")) + 1)
    parts = seen.frames["thumb"][first:stop].reshape(stop - first, -1).astype(np.float64)
    parts = parts - np.median(parts, axis=1, keepdims=True)
    deviation = parts.std(0)
    parts = parts[:, deviation >= 0.25 * deviation.max()]
    grid = np.arange(span.start_us, span.stop_us, step_us)
    return np.stack([np.interp(grid, times[first:stop], part) for part in parts.T], axis=1)


def _cue(counted: _Counted, start_us: int, step_us: float, settings: VisualSettings) -> Cue:
    edges = [start_us + round(at * step_us) for at in counted.returns]
    times = len(edges) - 1
    return Cue(
        label="visual",
        kind="repetition",
        speaker=None,
        start_us=edges[0],
        stop_us=edges[-1],
        confidence=round(min(1.0, max(0.0, counted.alike)), 3),
        origin=_ORIGIN,
        thresholds=as_json(
            repetition_least=settings.repetition_least,
            repetition_shortest_us=settings.repetition_shortest_us,
            repetition_longest_us=settings.repetition_longest_us,
            repetition_alike=settings.repetition_alike,
            motion_least=settings.motion_least,
            motion_bridge_us=settings.motion_bridge_us,
        ),
        evidence=as_json(
            count=times,
            period_us=round((edges[-1] - edges[0]) / times),
            alike=round(counted.alike, 3),
        ),
        spans=tuple(CueSpan(role="repetition", start_us=a, stop_us=b) for a, b in pairwise(edges)),
    )
