"""self_correction: `[reparandum] {interregnum} [repair]` after Shriberg (1994), from the words alone.

Two classifiers of boosted trees estimate for each word whether it is abandoned and whether the reparandum
ends with it, from `repair_features`. They are trained by benchmarks/train_self_correction.py.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np

from corpus.align.cues.repair_features import features
from corpus.align.cues.repair_rule import LONGEST_COPY, by_rule, copied
from corpus.align.cues.repair_words import Said, said_by
from corpus.align.cues.tagger import Tagger, read_tagger
from corpus.schemas.arrays import BoolArray, Float64Array
from corpus.schemas.conversation import Conversation, Cue, CueSpan, Word
from corpus.schemas.errors import FormatError
from corpus.schemas.evidence import as_json
from corpus.schemas.settings import CueSettings
from corpus.schemas.turn_taking import in_order

_ORIGIN = {"learned": "self_correction/2", "rule": "self_correction_rule/2"}
_WEIGHTS = "repairs.npz"
_WEIGHTS_SHA256 = "276856a5bbb8c364d377ed256b6c9363ec5b85508dd8181479c68608b600f173"
_RULE_CONFIDENCE = 0.7
"""The rule's precision on the tuning series is about that."""
_LONGEST_REPARANDUM = 8
_LIKELY_INSIDE = 0.4
"""The reparandum reaches back as far as words are so likely in one: best in the tuning series."""
_COPY_INSIDE = 0.25
"""The same as far as the word with which the repair begins: a copy is the clearer sign."""
_SURELY_INSIDE = 0.5
"""So likely, words are a reparandum even where no single one of them ends it."""
_MOST_PUT_IN = 3
"""Words that a repair may have more than its reparandum."""


@dataclass(frozen=True, slots=True)
class _Repair:
    """Places of words in one speaker's: the reparandum `[first, last]`, the repair `[last + 1, stop)`."""

    first: int
    last: int
    stop: int
    confidence: float


def self_correction(conversation: Conversation, settings: CueSettings) -> list[Cue]:
    """A cue for each reparandum followed by a repair; repairs inside repairs get their own cues."""
    cues: list[Cue] = []
    spoken = said_by(conversation)
    if settings.self_correction == "learned":
        likely = _tagged(spoken, _tagger())
    else:
        sure = np.float64(_RULE_CONFIDENCE)
        likely = [(ends * sure, inside * sure) for ends, inside in map(by_rule, spoken)]
    for said, (ends, inside) in zip(spoken, likely, strict=True):
        for repair in _repairs(said, ends, inside, settings):
            cues.append(_cue(said, repair, settings))
    return in_order(cues)


@cache
def _tagger() -> Tagger:
    data = files(__package__).joinpath(_WEIGHTS).read_bytes()
    if hashlib.sha256(data).hexdigest() != _WEIGHTS_SHA256:
        raise FormatError("is not the file this version was released with", where=_WEIGHTS)
    return read_tagger(data)


def _tagged(spoken: Sequence[Said], tagger: Tagger) -> list[tuple[Float64Array, Float64Array]]:
    """Of each speaker's words how likely a reparandum ends with it, and how likely it is in one."""
    if not spoken:
        return []
    rows = np.concatenate([features(said, tagger.statistics) for said in spoken])
    stops = np.cumsum([len(said) for said in spoken])[:-1]
    ends, inside = (np.split(trees.probability(rows), stops) for trees in (tagger.ends, tagger.inside))
    return list(zip(ends, inside, strict=True))


def _repairs(said: Said, ends: Float64Array, inside: Float64Array, settings: CueSettings) -> list[_Repair]:
    """Where reparanda end, how far back they go, and how far their repair does."""
    listed: list[_Repair] = []
    covered = np.zeros(len(said), np.bool_)
    is_last = ends > settings.self_correction_threshold_percent / 100
    for last in np.flatnonzero(is_last).tolist():
        if _goes_on(said, last):
            listed.append(_repair(said, _reach_back(said, last, is_last, inside), last, float(ends[last])))
            covered[listed[-1].first : last + 1] = True
    # words that are surely given up though no single one of them surely ends it
    last = 0
    for place in np.flatnonzero((inside > _SURELY_INSIDE) & ~covered).tolist():
        if place < last or covered[place]:
            continue
        last = place
        while _goes_on(said, last) and inside[last + 1] > _SURELY_INSIDE and not covered[last + 1]:
            last += 1
        if _goes_on(said, last):
            listed.append(_repair(said, place, last, float(inside[place : last + 1].mean())))
        last += 1
    return sorted(listed, key=lambda repair: (repair.last, repair.first))


def _goes_on(said: Said, place: int) -> bool:
    """Whether another word follows in the same stretch."""
    return place + 1 < len(said) and bool(said.stretch[place + 1] == said.stretch[place])


def _repair(said: Said, first: int, last: int, confidence: float) -> _Repair:
    copied_words = _copy_length(said, last)
    stop = _copy_stop(said, first, last) if copied_words else last + 2
    return _Repair(first, last, stop, round(confidence, 3))


def _copy_length(said: Said, last: int) -> int:
    """From the first word that comes again right after the reparandum; 0 where none does."""
    if length := copied(said, last):
        return length
    for length in range(1, LONGEST_COPY + 1):
        first = last - length + 1
        if first < 0 or said.stretch[first] != said.stretch[last]:
            return 0
        if said.texts[first] == said.texts[last + 1]:
            return length
    return 0


def _copy_stop(said: Said, first: int, last: int) -> int:
    """The end of the repair: as many words as match the reparandum, at least one."""
    stop = last + 1
    while (
        stop < len(said)
        and stop - last - 1 <= last - first
        and said.stretch[stop] == said.stretch[last]
        and said.texts[stop] == said.texts[first + stop - last - 1]
    ):
        stop += 1
    length = last - first + 1
    if stop - last - 1 < length:  # the rest may follow behind what was put in, or put in its place
        for place in range(stop, min(len(said), last + length + _MOST_PUT_IN + 1)):
            if said.stretch[place] == said.stretch[last] and said.texts[place] == said.texts[last]:
                return place + 1
    return max(stop, last + 2)


def _reach_back(said: Said, last: int, is_last: BoolArray, inside: Float64Array) -> int:
    """The first word of the reparandum: as far back as words are likely in one.

    Of words said three times and more each time but the last is a reparandum of its own.
    """
    first, again, begun = last, copied(said, last), _copy_length(said, last)
    while (
        first > 0 and last - first < _LONGEST_REPARANDUM - 1 and said.stretch[first - 1] == said.stretch[last]
    ):
        length = last - first + 1
        least = _COPY_INSIDE if length < begun else _LIKELY_INSIDE
        if inside[first - 1] <= least or (is_last[first - 1] and length == again):
            break
        first -= 1
    return first


def kind_of(reparandum: Sequence[str], repair: Sequence[str]) -> str:
    """Shriberg's type: the same words again, with more, with some replaced, or none of them."""
    if list(repair[: len(reparandum)]) == list(reparandum):
        return "repetition"
    if repair and reparandum[0] == repair[0]:
        return (
            "insertion"
            if len(repair) > len(reparandum) > 1 and reparandum[-1] == repair[-1]
            else "substitution"
        )
    if repair and len(reparandum) == 1 and repair[0].startswith(reparandum[0][:2]):
        return "substitution"
    return "deletion"


def _cue(said: Said, repair: _Repair, settings: CueSettings) -> Cue:
    given_up, again = said.words[repair.first : repair.last + 1], said.words[repair.last + 1 : repair.stop]
    parts = [_part("reparandum", *_span(given_up)), _part("repair", *_span(again))]
    between_us = (_span(given_up)[1], _span(again)[0])
    if said.fillers_before[repair.last + 1] and between_us[0] < between_us[1]:
        parts.insert(1, _part("interregnum", *between_us))
    texts = said.texts[repair.first : repair.last + 1], said.texts[repair.last + 1 : repair.stop]
    return Cue(
        label="self_correction",
        kind=kind_of(*texts),
        speaker=said.speaker,
        start_us=min(part.start_us for part in parts),
        stop_us=max(part.stop_us for part in parts),
        confidence=repair.confidence,
        origin=_ORIGIN[settings.self_correction],
        thresholds=as_json(
            self_correction=settings.self_correction,
            self_correction_threshold_percent=settings.self_correction_threshold_percent,
        ),
        evidence=as_json(reparandum=" ".join(texts[0]), repair=" ".join(texts[1])),
        spans=tuple(parts),
    )


def _span(words: Sequence[Word]) -> tuple[int, int]:
    return min(word.start_us or 0 for word in words), max(word.stop_us or 0 for word in words)


def _part(role: str, start_us: int, stop_us: int) -> CueSpan:
    return CueSpan(role=role, start_us=start_us, stop_us=max(start_us, stop_us))
