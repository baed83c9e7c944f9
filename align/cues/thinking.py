"""thinking: a pause or filler inside an unfinished sentence that the same speaker then continues.

What kind of pause it was is known only afterwards. The evidence separates `before`, what could be heard
before it, from `then`, what followed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from corpus.align.cues.filled_pause import FILLERS
from corpus.align.cues.repair_words import CLASSES, word_class
from corpus.align.prosody.heard import Heard
from corpus.schemas.conversation import Conversation, Cue, Word
from corpus.schemas.evidence import as_json
from corpus.schemas.settings import CueSettings
from corpus.schemas.span import Span
from corpus.schemas.turn_taking import SpeechIndex, in_order, normal, speech_by_speaker, timed_words

_ORIGIN = "thinking/2"
_UNFINISHED = frozenset(
    ("subject", "contracted", "determiner", "preposition", "auxiliary", "modal", "conjunction")
)
"""After such a word a sentence cannot end, or hardly."""
_ENDS_TOO = frozenset(
    ("that", "this", "it", "you", "there", "so", "then", "about", "on", "in", "to", "what", "did")
)
"""Words of these classes that often are the last of a sentence."""
_NAMES = tuple(CLASSES)
_FILLER_CONFIDENCE, _PAUSE_CONFIDENCE = 0.8, 0.6
"""A pause without a filler is the weaker sign (Campione & Véronis 2005)."""


def thinking(conversation: Conversation, settings: CueSettings, heard: Heard | None = None) -> list[Cue]:
    """Spans from a word that leaves the sentence open to the speaker's next word, if nobody else talks."""
    talks = {name: SpeechIndex(spans) for name, spans in speech_by_speaker(conversation).items()}
    cues: list[Cue] = []
    for name, words in timed_words(conversation).items():
        others = [other for who, other in talks.items() if who != name]
        for gap in _gaps(words, others, settings):
            sounds = heard.before(name, gap.span.start_us) if heard else {}
            cues.append(_cue(name, gap, sounds, settings))
    return in_order(cues)


@dataclass(frozen=True, slots=True)
class _Gap:
    """What lies between a word that leaves the sentence open and the next."""

    last: Word
    span: Span
    fillers: tuple[Word, ...]


def _gaps(words: list[Word], others: list[SpeechIndex], settings: CueSettings) -> Iterator[_Gap]:
    full = [place for place, word in enumerate(words) if normal(word.text) not in FILLERS]
    for before, after in pairwise(full):
        last, following = words[before], words[after]
        assert last.stop_us is not None and following.start_us is not None
        if not last.stop_us < following.start_us <= last.stop_us + settings.thinking_longest_us:
            continue
        span = Span(last.stop_us, following.start_us)
        fillers = tuple(words[before + 1 : after])
        if not is_open(last) or any(other.overlapping(span) for other in others):
            continue
        if fillers or span.duration_us >= settings.thinking_shortest_us:
            yield _Gap(last, span, fillers)


def is_open(word: Word) -> bool:
    """Whether a sentence can hardly end with this word."""
    text = normal(word.text)
    if any(sign in word.after for sign in ".?!") or word.text.endswith((".", "?", "!")):
        return False
    return word.text.endswith("-") or (_NAMES[word_class(text)] in _UNFINISHED and text not in _ENDS_TOO)


def _cue(name: str, gap: _Gap, sounds: dict[str, float], settings: CueSettings) -> Cue:
    return Cue(
        label="thinking",
        kind="filler" if gap.fillers else "pause",
        speaker=name,
        start_us=gap.span.start_us,
        stop_us=gap.span.stop_us,
        confidence=_FILLER_CONFIDENCE if gap.fillers else _PAUSE_CONFIDENCE,
        origin=_ORIGIN,
        thresholds=as_json(
            thinking_longest_us=settings.thinking_longest_us,
            thinking_shortest_us=settings.thinking_shortest_us,
        ),
        evidence=as_json(
            before={
                "word": normal(gap.last.text),
                "fillers": [normal(word.text) for word in gap.fillers],
                **sounds,
            },
            then={"goes_on_after_us": gap.span.duration_us},
        ),
    )
