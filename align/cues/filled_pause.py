"""hesitation / filled_pause: "uh", "um" and the like, one cue per word, at the word's own time."""

from __future__ import annotations

from corpus.align.cues.answer_words import WORDS as BACKCHANNEL_WORDS
from corpus.schemas.conversation import Conversation, Cue, Word
from corpus.schemas.evidence import as_json
from corpus.schemas.settings import CueSettings
from corpus.schemas.span import Span
from corpus.schemas.turn_taking import (
    SpeechIndex,
    WordsOf,
    in_order,
    normal,
    speech_by_speaker,
    words_by_speaker,
)

_ORIGIN = "filled_pause/1"
FILLERS = frozenset(("eh", "ehm", "er", "erm", "uh", "uhm", "um", "umm", "ummm"))
HUMS = frozenset(("hm", "hmm", "mm", "mmm"))
"""A filled pause inside one's own talk; a unit of nothing but such words is a backchannel or an answer."""
_TIMING_CONFIDENCE = {"measured": 0.9, "aligned": 0.9, "recognised": 0.9, "interpolated": 0.7}
"""An interpolated word may stand some tenths of a second off."""


def filled_pause(conversation: Conversation, settings: CueSettings) -> list[Cue]:
    """Every word of the closed list that has a time; a hum only beside other words of its unit."""
    units = {
        n: SpeechIndex(s)
        for n, s in speech_by_speaker(conversation, bridge_us=settings.ipu_bridge_us).items()
    }
    words = words_by_speaker(conversation)
    cues: list[Cue] = []
    for word in conversation.words:
        text, span = normal(word.text), word.span
        if span is None or text not in FILLERS | HUMS:
            continue
        if text in HUMS and _hums_only(span, units.get(word.speaker), words[word.speaker]):
            continue
        cues.append(_cue(word, text, span, settings))
    return in_order(cues)


def _hums_only(span: Span, units: SpeechIndex | None, words: WordsOf) -> bool:
    unit = units.at(span.start_us) if units else None
    return BACKCHANNEL_WORDS.issuperset(normal(text) for text in words.inside(unit or span))


def _cue(word: Word, text: str, span: Span, settings: CueSettings) -> Cue:
    return Cue(
        label="hesitation",
        kind="filled_pause",
        speaker=word.speaker,
        start_us=span.start_us,
        stop_us=span.stop_us,
        confidence=_TIMING_CONFIDENCE[word.timing],
        origin=_ORIGIN,
        thresholds=as_json(
            ipu_bridge_us=settings.ipu_bridge_us,
        ),
        evidence=as_json(
            text=text,
            timing=word.timing,
            duration_us=span.duration_us,
        ),
    )
