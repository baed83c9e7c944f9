"""self_correction: `[reparandum] {interregnum} [repair]` after Shriberg (1994), from the words alone.

Two boosted-tree classifiers decide for each word whether it is abandoned and whether the reparandum ends
with it; their input is in `repair_features`. Trained by benchmarks/train_self_correction.py.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np

from corpus.align.cues.repair_features import features
from corpus.align.cues.repair_rule import LONGEST_COPY, copied, rule_ends
from corpus.align.cues.repair_words import Said, said_by
from corpus.align.cues.tagger import Tagger, read_tagger
from corpus.schemas.arrays import Float64Array
from corpus.schemas.conversation import Conversation, Cue, CueSpan, Word
from corpus.schemas.errors import FormatError
from corpus.schemas.evidence import as_json
from corpus.schemas.settings import CueSettings
from corpus.schemas.turn_taking import in_order

ORIGIN = {"learned": "self_correction/1", "rule": "self_correction_rule/1"}
WEIGHTS = "repairs.npz"
WEIGHTS_SHA256 = "8eccbbcd87fe2c846b0c77b9b3657e543902f70534002f1353d6fe4d4897d343"
RULE_CONFIDENCE = 0.7
"""About the rule's precision on the tuning series."""
LONGEST_REPARANDUM = 6
MOST_PUT_IN = 3
"""How many words a repair may have more than its reparandum."""


@dataclass(frozen=True, slots=True)
class Repair:
    """Places of words in one speaker's: the reparandum `[first, last]`, the repair `[last + 1, stop)`."""

    first: int
    last: int
    stop: int
    confidence: float


def self_correction(conversation: Conversation, settings: CueSettings) -> list[Cue]:
    """A cue for each reparandum that a repair follows; repairs inside repairs are cues of their own."""
    cues: list[Cue] = []
    for said in said_by(conversation):
        if settings.self_correction == "learned":
            ends, inside = tagged(said, _tagger())
        else:
            ends = np.where(rule_ends(said), RULE_CONFIDENCE, 0.0)
            inside = ends
        for repair in repairs(said, ends, inside, settings):
            cues.append(_cue(said, repair, settings))
    return in_order(cues)


@cache
def _tagger() -> Tagger:
    data = files(__package__).joinpath(WEIGHTS).read_bytes()
    if hashlib.sha256(data).hexdigest() != WEIGHTS_SHA256:
        raise FormatError("is not the file this version was released with", where=WEIGHTS)
    return read_tagger(data)


def tagged(said: Said, tagger: Tagger) -> tuple[Float64Array, Float64Array]:
    """For each word how likely a reparandum ends with it, and how likely it is in one."""
    rows = features(said, tagger.statistics)
    return tagger.ends.probability(rows), tagger.inside.probability(rows)


def repairs(said: Said, ends: Float64Array, inside: Float64Array, settings: CueSettings) -> list[Repair]:
    """Where reparanda end, how far back they reach, and how far their repairs do."""
    repairs: list[Repair] = []
    share = settings.self_correction_threshold_percent / 100
    for last in np.flatnonzero(ends > share):
        following = last + 1
        # A repair never crosses a pause or another speaker's turn.
        if following >= len(said) or said.stretch[following] != said.stretch[last]:
            continue
        length = _copy_length(said, int(last))
        first = int(last) - length + 1 if length else _reach_back(said, int(last), ends, inside, share)
        stop = int(last) + 2 if not length else _copy_stop(said, first, int(last))
        repairs.append(Repair(first, int(last), stop, round(float(ends[last]), 3)))
    return repairs


def _copy_length(said: Said, last: int) -> int:
    """Words from the first one that recurs right after the reparandum; 0 if none does."""
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
        for place in range(stop, min(len(said), last + length + MOST_PUT_IN + 1)):
            if said.stretch[place] == said.stretch[last] and said.texts[place] == said.texts[last]:
                return place + 1
    return max(stop, last + 2)


def _reach_back(said: Said, last: int, ends: Float64Array, inside: Float64Array, share: float) -> int:
    first = last
    while (
        first > 0
        and last - first < LONGEST_REPARANDUM - 1
        and said.stretch[first - 1] == said.stretch[last]
        and inside[first - 1] > share
        and ends[first - 1] <= share
    ):
        first -= 1
    return first


def kind_of(reparandum: Sequence[str], repair: Sequence[str]) -> str:
    """Shriberg's type: the words repeated, extended, partly replaced, or abandoned."""
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


def _cue(said: Said, repair: Repair, settings: CueSettings) -> Cue:
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
        origin=ORIGIN[settings.self_correction],
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
