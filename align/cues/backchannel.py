"""backchannel: "mm-hmm", "yeah" said without taking the floor.

Two tests, distinguished in the evidence. Geometric: a short unit with the speaker's own silence on both
sides, while somebody else talks when it begins or just before. Lexical: at most a few words, all from a list.
"""

from __future__ import annotations

from collections.abc import Iterator

from corpus.align.cues.answer_words import WORDS
from corpus.align.cues.linear import released_models
from corpus.align.cues.unit_features import run_features
from corpus.align.cues.units import short_runs, units_said
from corpus.schemas.conversation import Conversation, Cue
from corpus.schemas.evidence import as_json
from corpus.schemas.settings import CueSettings
from corpus.schemas.span import Span
from corpus.schemas.turn_taking import (
    SpeechIndex,
    Unit,
    WordsOf,
    in_order,
    normal,
    speech_by_speaker,
    words_by_speaker,
)

_ORIGIN = "backchannel/2"
_GEOMETRIC_CONFIDENCE = 0.5
"""Without words: a short answer looks the same."""
_LEXICAL_CONFIDENCE = 0.6
"""Words of the list, but one's own talk is near."""
_BOTH_CONFIDENCE = 0.9
_LONELY_US = 3_000_000
"""Nobody to encourage: the others have been silent for this long."""


def backchannel(conversation: Conversation, settings: CueSettings) -> list[Cue]:
    """Units that pass the geometric test, and runs of short words that are likely one.

    Units with words are judged by the model (`learned`) or by the list of words (`rule`).
    """
    spans = speech_by_speaker(conversation, bridge_us=settings.ipu_bridge_us)
    talks = {name: SpeechIndex(of_speaker) for name, of_speaker in spans.items()}
    words = words_by_speaker(conversation)
    cues: list[Cue] = []
    for name, of_speaker in spans.items():
        for span in of_speaker:
            if settings.backchannel_shortest_us <= span.duration_us <= settings.backchannel_longest_us:
                cue = _judge(Unit(name, span), talks, words[name], settings, conversation.duration_us)
                cues += [cue] if cue else []
    if settings.backchannel == "learned":
        return in_order([*(cue for cue in cues if cue.kind == "geometric"), *_likely(conversation, settings)])
    return in_order(cues)


def _likely(conversation: Conversation, settings: CueSettings) -> Iterator[Cue]:
    """Runs of short words, alone or inside a longer unit, that the model takes for a backchannel."""
    model = released_models()["runs"]
    for unit in units_said(conversation, settings.ipu_bridge_us):
        for first, stop in short_runs(unit):
            likely = model.probability(run_features(unit, first, stop))["backchannel"]
            start_us, stop_us = unit.words[first].start_us or 0, unit.words[stop - 1].stop_us or 0
            if likely * 100 < settings.backchannel_threshold_percent:
                continue
            if stop_us - start_us < settings.backchannel_shortest_us or unit.others_ago_us >= _LONELY_US:
                continue
            yield Cue(
                label="backchannel",
                kind="lexical",
                speaker=unit.speaker,
                start_us=start_us,
                stop_us=stop_us,
                confidence=round(likely, 3),
                origin=_ORIGIN,
                thresholds=as_json(
                    backchannel_shortest_us=settings.backchannel_shortest_us,
                    backchannel_threshold_percent=settings.backchannel_threshold_percent,
                    ipu_bridge_us=settings.ipu_bridge_us,
                ),
                evidence=as_json(
                    geometric=False,
                    lexical=True,
                    duration_us=stop_us - start_us,
                    inside_unit=stop - first < len(unit.texts),
                    text=" ".join(unit.texts[first:stop]),
                ),
            )


def _judge(
    unit: Unit, talks: dict[str, SpeechIndex], words: WordsOf, settings: CueSettings, duration_us: int
) -> Cue | None:
    said = [normal(text) for text in words.inside(unit.span)]
    listed = bool(said) and len(said) <= settings.backchannel_words and WORDS.issuperset(said)
    if (said and not listed) or not _others_talk(unit, talks, settings):
        return None
    apart = _is_apart(unit, talks[unit.speaker], settings, duration_us)
    if not (listed or apart):
        return None
    return _cue(unit, said, apart, listed, settings)


def _others_talk(unit: Unit, talks: dict[str, SpeechIndex], settings: CueSettings) -> bool:
    """Somebody else talks at its begin, or at most the own silence before."""
    around = Span(max(0, unit.span.start_us - settings.backchannel_silence_us), unit.span.start_us + 1)
    return any(other.overlapping(around) for name, other in talks.items() if name != unit.speaker)


def _is_apart(unit: Unit, own: SpeechIndex, settings: CueSettings, duration_us: int) -> bool:
    """Own silence on both sides; at the recording's edges nobody knows what was before or comes after."""
    silence_us = settings.backchannel_silence_us
    if unit.span.start_us < silence_us or unit.span.stop_us + silence_us > duration_us:
        return False
    around = Span(max(0, unit.span.start_us - silence_us), unit.span.stop_us + silence_us)
    return len(own.overlapping(around)) == 1


def _cue(unit: Unit, said: list[str], geometric: bool, lexical: bool, settings: CueSettings) -> Cue:
    alone = _LEXICAL_CONFIDENCE if lexical else _GEOMETRIC_CONFIDENCE
    return Cue(
        label="backchannel",
        kind="lexical" if lexical else "geometric",
        speaker=unit.speaker,
        start_us=unit.span.start_us,
        stop_us=unit.span.stop_us,
        confidence=_BOTH_CONFIDENCE if geometric and lexical else alone,
        origin=_ORIGIN,
        thresholds=as_json(
            backchannel_longest_us=settings.backchannel_longest_us,
            backchannel_shortest_us=settings.backchannel_shortest_us,
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
