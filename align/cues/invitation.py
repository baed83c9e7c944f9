"""invitation: a question, a tag or a request for a suggestion; the cue is its last word.

If words carry question marks, these decide together with the model; otherwise the model alone, from the words
of the unit and the silence after it.
"""

from __future__ import annotations

import json
from dataclasses import replace

from corpus.align.cues.linear import released_models
from corpus.align.cues.unit_features import question_features
from corpus.align.cues.units import Said, units_said
from corpus.align.prosody.heard import Heard
from corpus.schemas.conversation import Conversation, Cue, CueSpan, Word
from corpus.schemas.evidence import as_json
from corpus.schemas.settings import CueSettings
from corpus.schemas.turn_taking import in_order

_ORIGIN = "invitation/2"
_TAGS = frozenset(
    (
        *("right", "okay", "yeah", "no", "or", "isn't it", "is it", "aren't they", "don't you", "doesn't it"),
        *("you know what i mean", "do you know what i mean", "you see", "huh", "eh", "don't we", "won't it"),
    )
)
_SUGGESTING = (
    "any ideas",
    "what shall",
    "what should",
    "shall we",
    "should we",
    "any suggestions",
    "how about",
)


def invitation(conversation: Conversation, settings: CueSettings, heard: Heard | None = None) -> list[Cue]:
    """One cue for each question mark that the model does not rule out, and for each unit it is sure of."""
    model = released_models()["questions"]
    cues: list[Cue] = []
    for unit in units_said(conversation, settings.ipu_bridge_us):
        likely = model.probability(question_features(unit))["invitation"]
        marks = [place for place, word in enumerate(unit.words) if _asks(word)]
        punctuated = marks or any(word.after for word in unit.words)
        least = settings.invitation_sure_percent if punctuated else settings.invitation_threshold_percent
        if marks and likely * 100 >= settings.invitation_asked_percent:
            first = 0
            for place in marks:
                cues.append(_cue(unit, first, place, max(likely, 0.6), settings))
                first = place + 1
        elif likely * 100 >= least:
            cues.append(_cue(unit, 0, len(unit.words) - 1, likely, settings))
    return in_order([_as_heard(cue, heard) for cue in cues] if heard else cues)


def _as_heard(cue: Cue, heard: Heard) -> Cue:
    """With the melody at the question's end among its evidence."""
    before = heard.before(cue.speaker or "", cue.stop_us)
    return replace(cue, evidence=as_json(**{**json.loads(cue.evidence), "before": before}))


def _asks(word: Word) -> bool:
    return "?" in word.after or word.text.endswith("?")


def _kind(texts: tuple[str, ...]) -> str:
    said = " ".join(texts)
    if any(phrase in said for phrase in _SUGGESTING):
        return "suggestion"
    return "tag" if said in _TAGS else "question"


def _cue(unit: Said, first: int, last: int, likely: float, settings: CueSettings) -> Cue:
    word, begin = unit.words[last], unit.words[first]
    start_us, stop_us = word.start_us or 0, max(word.start_us or 0, word.stop_us or 0)
    texts = unit.texts[first : last + 1]
    return Cue(
        label="invitation",
        kind=_kind(texts),
        speaker=unit.speaker,
        start_us=start_us,
        stop_us=stop_us,
        confidence=round(likely, 3),
        origin=_ORIGIN,
        thresholds=as_json(
            invitation_asked_percent=settings.invitation_asked_percent,
            invitation_sure_percent=settings.invitation_sure_percent,
            invitation_threshold_percent=settings.invitation_threshold_percent,
            ipu_bridge_us=settings.ipu_bridge_us,
        ),
        evidence=as_json(
            question_mark=_asks(word),
            text=" ".join(texts[-12:]),
            then={
                "silence_us": unit.after_us if last == len(unit.words) - 1 else 0,
                "others_talk_after_us": unit.others_next_us,
            },
        ),
        spans=(CueSpan(role="act", start_us=begin.start_us or 0, stop_us=stop_us),),
    )
