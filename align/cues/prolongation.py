"""hesitation / prolongation: a word drawn out far beyond its usual length while the sentence is open.

Measured in the sound: word times extend into silence, so only the audible length of a word counts.
"""

from __future__ import annotations

from corpus.align.cues.filled_pause import FILLERS, HUMS
from corpus.align.cues.thinking import is_open
from corpus.align.prosody.heard import Heard, Sounded
from corpus.schemas.conversation import Conversation, Cue
from corpus.schemas.evidence import as_json
from corpus.schemas.settings import CueSettings
from corpus.schemas.turn_taking import in_order, normal

_ORIGIN = "prolongation/1"
_CONFIDENCE = 0.5
"""Emphasis draws words out too."""
_VOICED = 0.6
"""Share of the last 200 ms that has a pitch; a fricative or a breath is not drawn out by a hesitation."""


def prolongation(conversation: Conversation, settings: CueSettings, heard: Heard | None = None) -> list[Cue]:
    """Drawn-out words after which a sentence cannot end; none without sound."""
    if heard is None:
        return []
    return in_order(
        [
            _cue(sounded, settings)
            for name in sorted(conversation.speakers)
            for sounded in heard.words(name)
            if is_drawn_out(sounded, settings)
        ]
    )


def is_drawn_out(sounded: Sounded, settings: CueSettings) -> bool:
    """Whether the word leaves the sentence open, is not a filler, and lasts too long."""
    times, word = sounded.times_usual, sounded.word
    return (
        times is not None
        and 100 * times >= settings.prolongation_least_percent
        and sounded.sounded_us >= settings.prolongation_shortest_us
        and sounded.voiced >= _VOICED
        and normal(word.text) not in FILLERS | HUMS
        and not word.text.endswith("-")
        and is_open(word)
    )


def _cue(sounded: Sounded, settings: CueSettings) -> Cue:
    word = sounded.word
    start_us = word.start_us or 0
    return Cue(
        label="hesitation",
        kind="prolongation",
        speaker=word.speaker,
        start_us=start_us,
        stop_us=start_us + sounded.sounded_us,
        confidence=_CONFIDENCE,
        origin=_ORIGIN,
        thresholds=as_json(
            prolongation_least_percent=settings.prolongation_least_percent,
            prolongation_shortest_us=settings.prolongation_shortest_us,
        ),
        evidence=as_json(
            text=normal(word.text),
            sounded_us=sounded.sounded_us,
            times_usual=sounded.times_usual,
            voiced=sounded.voiced,
        ),
    )
