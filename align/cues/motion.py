"""visual / motion_start, motion_stop: something begins to move after stillness, or comes to rest."""

from __future__ import annotations

import numpy as np

from corpus.align.cues.scene_cut import cut_rows
from corpus.schemas.arrays import BoolArray, Float32Array
from corpus.schemas.clock import WINDOW_US
from corpus.schemas.conversation import Cue
from corpus.schemas.evidence import as_json
from corpus.schemas.settings import VisualSettings
from corpus.schemas.sight import Seen
from corpus.schemas.span import Span, union

_ORIGIN = "motion/1"
_FAINT = 0.2
"""Share of the least movement that may lead into one and out of it, where the picture is quiet enough."""


def motion(seen: Seen, settings: VisualSettings) -> list[Cue]:
    """A start and a stop for each movement, if the stillness before or after was seen too."""
    spans = movements(seen, settings)
    edges = breaks_us(seen, settings)
    cues: list[Cue] = []
    for n, span in enumerate(spans):
        before_us = max([e for e in edges if e <= span.start_us] + [s.stop_us for s in spans[:n]])
        after_us = min([e for e in edges if e >= span.stop_us] + [s.start_us for s in spans[n + 1 :]])
        still_before, still_after = span.start_us - before_us, after_us - span.stop_us
        peak = _peak(seen, span)
        if still_before >= settings.still_us:
            cues.append(_cue("motion_start", span.start_us, peak, still_before, settings))
        if still_after >= settings.still_us:
            cues.append(_cue("motion_stop", span.stop_us, peak, still_after, settings))
    return cues


def movements(seen: Seen, settings: VisualSettings, *, rest_us: int | None = None) -> list[Span]:
    """Stretches of movement with short rests closed, from the first changed picture to the last."""
    rest_us = settings.motion_bridge_us if rest_us is None else rest_us
    times, values = seen.times_us, seen.frames["motion"].copy()
    values[cut_rows(seen, settings)] = 0  # a cut is not movement
    moving = _with_slopes(values >= settings.motion_least, values >= _floor(values, settings.motion_least))
    spans = [Span(int(times[at]), int(times[at]) + 1) for at in np.flatnonzero(moving)]
    # A rest is as long as the gap between two changed pictures, less the period that one change takes.
    joined = union(spans, bridge_us=rest_us + seen.head.period_us)
    return [Span(s.start_us, max(s.start_us + seen.head.period_us, s.stop_us - 1)) for s in joined]


def _floor(values: Float32Array, least: float) -> float:
    """A threshold above this recording's noise, as movement begins and ends gently."""
    still = values[values < least]
    noise = float(np.percentile(still, 90)) if len(still) else least
    return min(least, max(_FAINT * least, 1.5 * noise))


def _with_slopes(clear: BoolArray, faint: BoolArray) -> BoolArray:
    """`clear` with the faint pictures that lead into it or out of it."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], faint | clear, [False])).astype(np.int8)))
    marks = np.zeros_like(clear)
    for start, stop in edges.reshape(-1, 2):
        marks[start:stop] = clear[start:stop].any()
    return marks


def breaks_us(seen: Seen, settings: VisualSettings) -> list[int]:
    """Times across which pictures cannot be compared: both ends, holes and cuts."""
    holes = [time_us for hole in seen.head.holes for time_us in (hole.start_us, hole.stop_us)]
    cuts = [int(seen.times_us[at]) for at in cut_rows(seen, settings)]
    return sorted((seen.head.start_us, seen.head.stop_us, *holes, *cuts))


def _peak(seen: Seen, span: Span) -> float:
    inside = (seen.times_us >= span.start_us) & (seen.times_us <= span.stop_us)
    return float(seen.frames["motion"][inside].max())


def _cue(kind: str, time_us: int, peak: float, still_us: int, settings: VisualSettings) -> Cue:
    return Cue(
        label="visual",
        kind=kind,
        speaker=None,
        start_us=time_us,
        stop_us=time_us + WINDOW_US,
        confidence=round(min(1.0, peak / (4 * settings.motion_least) + 0.25), 3),
        origin=_ORIGIN,
        thresholds=as_json(
            motion_least=settings.motion_least,
            motion_bridge_us=settings.motion_bridge_us,
            still_us=settings.still_us,
        ),
        evidence=as_json(peak=round(peak, 1), still_us=still_us),
    )
