"""backchannel: "mm-hmm", "yeah" said without taking the floor.

Two tests, kept apart in the evidence. Geometric: a short unit, silence of one's own on both sides,
somebody else talking when it begins or just before. Lexical: at most a few words, all of a list.
"""

from __future__ import annotations

from corpus.schemas.conversation import Conversation, Cue
from corpus.schemas.evidence import as_json
from corpus.schemas.settings import CueSettings
from corpus.schemas.span import Span
from corpus.schemas.turn_taking import Talk, Unit, WordsOf, in_order, normal, talk, words_by_speaker

ORIGIN = "backchannel/1"
WORDS = frozenset(
    (
        *("ah", "aha", "alright", "cool", "exactly", "fine", "good", "great", "hm", "hmm", "huh", "indeed"),
        *("mhm", "mm", "mm-hmm", "mm-mm", "mmhmm", "mmm", "nice", "no", "oh", "ok", "okay", "really"),
        *("right", "sure", "true", "uh-huh", "uhhuh", "wow", "yeah", "yep", "yes", "yup"),
    )
)
GEOMETRIC_CONFIDENCE = 0.5
"""Without words: a short answer looks the same."""
LEXICAL_CONFIDENCE = 0.6
"""Words of the list, but one's own talk is near."""
BOTH_CONFIDENCE = 0.9


def backchannel(conversation: Conversation, settings: CueSettings) -> list[Cue]:
    """Units that pass the geometric test, the lexical one or both; words off the list rule a unit out."""
    spans = talk(conversation, bridge_us=settings.ipu_bridge_us)
    talks = {name: Talk(found) for name, found in spans.items()}
    words = words_by_speaker(conversation)
    cues: list[Cue] = []
    for name, found in spans.items():
        for span in found:
            if span.duration_us <= settings.backchannel_longest_us:
                cue = _judge(Unit(name, span), talks, words[name], settings)
                cues += [cue] if cue else []
    return in_order(cues)


def _judge(unit: Unit, talks: dict[str, Talk], words: WordsOf, settings: CueSettings) -> Cue | None:
    said = [normal(text) for text in words.inside(unit.span)]
    listed = bool(said) and len(said) <= settings.backchannel_words and WORDS.issuperset(said)
    if (said and not listed) or not _others_talk(unit, talks, settings):
        return None
    apart = _is_apart(unit, talks[unit.speaker], settings)
    if not (listed or apart):
        return None
    return _cue(unit, said, apart, listed, settings)


def _others_talk(unit: Unit, talks: dict[str, Talk], settings: CueSettings) -> bool:
    """Somebody else talks at its begin, or at most the own silence before."""
    around = Span(max(0, unit.span.start_us - settings.backchannel_silence_us), unit.span.start_us + 1)
    return any(other.overlapping(around) for name, other in talks.items() if name != unit.speaker)


def _is_apart(unit: Unit, own: Talk, settings: CueSettings) -> bool:
    silence_us = settings.backchannel_silence_us
    around = Span(max(0, unit.span.start_us - silence_us), unit.span.stop_us + silence_us)
    return len(own.overlapping(around)) == 1


def _cue(unit: Unit, said: list[str], geometric: bool, lexical: bool, settings: CueSettings) -> Cue:
    alone = LEXICAL_CONFIDENCE if lexical else GEOMETRIC_CONFIDENCE
    return Cue(
        label="backchannel",
        kind="lexical" if lexical else "geometric",
        speaker=unit.speaker,
        start_us=unit.span.start_us,
        stop_us=unit.span.stop_us,
        confidence=BOTH_CONFIDENCE if geometric and lexical else alone,
        origin=ORIGIN,
        thresholds=as_json(
            backchannel_longest_us=settings.backchannel_longest_us,
            backchannel_silence_us=settings.backchannel_silence_us,
            backchannel_words=settings.backchannel_words,
            ipu_bridge_us=settings.ipu_bridge_us,
        ),
        evidence=as_json(
            geometric=geometric,
            lexical=lexical,
            duration_us=unit.span.duration_us,
            text=" ".join(said),
        ),
    )
