"""hesitation / silent_pause: a silence next to a filler or after a drawn-out word of the same speaker.

A silence by itself is not a hesitation (Campione & Véronis 2005).
"""

from __future__ import annotations

from itertools import pairwise

from corpus.align.cues.filled_pause import FILLERS
from corpus.align.cues.prolongation import is_drawn_out
from corpus.align.prosody.heard import Heard, Sounded
from corpus.schemas.conversation import Conversation, Cue, Word
from corpus.schemas.evidence import as_json
from corpus.schemas.settings import CueSettings
from corpus.schemas.span import Span
from corpus.schemas.turn_taking import SpeechIndex, in_order, normal, speech_by_speaker, timed_words

_ORIGIN = "silent_pause/1"
_CONFIDENCE = 0.6


def silent_pause(conversation: Conversation, settings: CueSettings, heard: Heard | None = None) -> list[Cue]:
    """Silences between two words of one speaker, while nobody talks, next to another sign of hesitation."""
    talks = {name: SpeechIndex(spans) for name, spans in speech_by_speaker(conversation).items()}
    cues: list[Cue] = []
    for name, words in timed_words(conversation).items():
        sounds = {(s.word.start_us, s.word.text): s for s in heard.words(name)} if heard else {}
        for before, after in pairwise(words):
            sign = _sign(before, after, sounds.get((before.start_us, before.text)), settings)
            span = _silence(before, after, settings)
            if sign and span and not any(talk.overlapping(span) for talk in talks.values()):
                cues.append(_cue(name, span, sign, settings))
    return in_order(cues)


def _silence(before: Word, after: Word, settings: CueSettings) -> Span | None:
    start_us, stop_us = before.stop_us or 0, after.start_us or 0
    if not settings.silent_pause_shortest_us <= stop_us - start_us <= settings.thinking_longest_us:
        return None
    return Span(start_us, stop_us)


def _sign(before: Word, after: Word, sounded: Sounded | None, settings: CueSettings) -> str:
    """What beside the silence makes a hesitation of it; "" where nothing does."""
    if normal(before.text) in FILLERS or normal(after.text) in FILLERS:
        return "filler"
    return "prolongation" if sounded and is_drawn_out(sounded, settings) else ""


def _cue(name: str, span: Span, sign: str, settings: CueSettings) -> Cue:
    return Cue(
        label="hesitation",
        kind="silent_pause",
        speaker=name,
        start_us=span.start_us,
        stop_us=span.stop_us,
        confidence=_CONFIDENCE,
        origin=_ORIGIN,
        thresholds=as_json(
            silent_pause_shortest_us=settings.silent_pause_shortest_us,
            thinking_longest_us=settings.thinking_longest_us,
        ),
        evidence=as_json(beside=sign, silence_us=span.duration_us),
    )
