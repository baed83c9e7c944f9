"""Matches faces with voices: mouths that move while somebody talks and rest while they do not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from corpus.schemas.arrays import BoolArray
from corpus.schemas.clock import US
from corpus.schemas.conversation import Conversation
from corpus.schemas.settings import VisualSettings
from corpus.schemas.sight import FaceTrack, Seen
from corpus.schemas.span import Span
from corpus.schemas.turn_taking import speech_by_speaker

_LEAST_US = US
"""A voice must be heard this long, and silent this long, while a face is seen, to be compared with it."""


@dataclass(frozen=True, slots=True)
class Match:
    """A face that belongs to a speaker."""

    track: int
    speaker: str
    alike: float
    """Correlation of the mouth's movement with the voice."""
    lead: float
    """How much lower the next voice's correlation is; the whole correlation if there is no other voice."""
    threshold: float
    """Mouth movement halfway between this face talking and silent."""


def whose_faces(seen: Seen, conversation: Conversation, settings: VisualSettings) -> dict[int, Match]:
    """The clear matches, by track. A face that stays still or that two voices claim has none."""
    voices = {
        name: voice_marks(spans, seen.times_us + seen.head.period_us // 2)
        for name, spans in speech_by_speaker(conversation).items()
    }
    claims: list[Match] = []
    for track in seen.head.tracks:
        if not track.still:
            match = _match(seen, track, voices, settings)
            claims += [match] if match else []
    taken: dict[int, Match] = {}
    spans = {track.id: track.span for track in seen.head.tracks}
    for claim in sorted(claims, key=lambda m: (-m.alike, m.track)):
        rivals = (m for m in taken.values() if m.speaker == claim.speaker)
        # Two faces seen at the same time are two people.
        if not any(spans[m.track].overlaps(spans[claim.track]) for m in rivals):
            taken[claim.track] = claim
    return dict(sorted(taken.items()))


def voice_marks(spans: Sequence[Span], times_us: npt.NDArray[np.int64]) -> BoolArray:
    """Whether each time lies in one of the spans, which are ordered and disjoint."""
    starts = np.array([span.start_us for span in spans], np.int64)
    stops = np.array([span.stop_us for span in spans], np.int64)
    at = np.searchsorted(starts, times_us, "right") - 1
    marks: BoolArray = (at >= 0) & (times_us < stops[np.maximum(at, 0)])
    return marks


def _match(
    seen: Seen, track: FaceTrack, voices: dict[str, BoolArray], settings: VisualSettings
) -> Match | None:
    rows = seen.of_track(track.id)
    movement = rows["mouth_movement"].astype(np.float64)
    movement = np.minimum(movement, np.percentile(movement, 95))
    least = _LEAST_US / seen.head.period_us
    alike: dict[str, float] = {}
    for name, marks in voices.items():
        heard = marks[rows["frame"]]
        if heard.sum() >= least and (~heard).sum() >= least and movement.std() > 0:
            alike[name] = float(np.corrcoef(movement, heard)[0, 1])
    if not alike:
        return None
    ranked = sorted(alike, key=lambda name: (-alike[name], name))
    best = ranked[0]
    lead = alike[best] - (max(0.0, alike[ranked[1]]) if len(ranked) > 1 else 0.0)
    if alike[best] < settings.speaker_alike or lead < settings.speaker_margin:
        return None
    heard = voices[best][rows["frame"]]
    threshold = float(movement[heard].mean() + movement[~heard].mean()) / 2
    return Match(track.id, best, alike[best], lead, threshold)
