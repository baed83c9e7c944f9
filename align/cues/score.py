"""Scoring cues against human marks: precision, recall and calibration.

A cue and a mark of the same label and speaker can match if they share time or are no farther apart than the
tolerance; matches are one to one, longest common time first. Unmatched cues in a stretch the annotators left
open (`unscored`) are not counted. Labels and kinds nobody marked are not scored.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from corpus.schemas.clock import WINDOW_US
from corpus.schemas.conversation import CUE_KINDS, Cue, Event, Turn, Word

_BINS = 10
"""Confidences are compared with their precision in this many equal bins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Marked:
    """The labels of one recording, by people or by labelers."""

    cues: tuple[Cue, ...]
    events: tuple[Event, ...] = ()
    words: tuple[Word, ...] = ()
    turns: tuple[Turn, ...] = ()


@dataclass(slots=True)
class _Count:
    """Cues found (one to one), wrong, missed; those that share time with any, either way."""

    found: int = 0
    wrong: int = 0
    missed: int = 0
    any_found: int = 0
    any_wrong: int = 0
    any_missed: int = 0

    def add(self, other: _Count) -> None:
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def plain(self) -> dict[str, Any]:
        one, any_ = (self.found, self.wrong, self.missed), (self.any_found, self.any_wrong, self.any_missed)
        return {
            **_rates(*one),
            "n": self.found + self.missed,
            "found": self.found,
            "wrong": self.wrong,
            "missed": self.missed,
            "any_overlap": _rates(*any_),
        }


@dataclass(slots=True)
class Scores:
    """Counts over any number of recordings."""

    labels: defaultdict[str, _Count] = field(default_factory=lambda: defaultdict(_Count))
    kinds: defaultdict[tuple[str, str], _Count] = field(default_factory=lambda: defaultdict(_Count))
    confusion: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By (mark, label found instead)."""
    sure: defaultdict[str, list[tuple[float, bool]]] = field(default_factory=lambda: defaultdict(list))
    """By label, the confidences and whether the cues were right."""
    reparandum: Counter[str] = field(default_factory=Counter)

    def plain(self) -> dict[str, Any]:
        labels = {}
        for label, count in sorted(self.labels.items()):
            kinds = {kind: each.plain() for (of, kind), each in sorted(self.kinds.items()) if of == label}
            labels[label] = {**count.plain(), "kinds": kinds, "ece": calibration_error(self.sure[label])}
        if self.reparandum and "self_correction" in labels:
            words = self.reparandum
            labels["self_correction"]["reparandum_words"] = _rates(
                words["found"], words["wrong"], words["missed"]
            )
        confusion = [{"mark": a, "found": b, "n": n} for (a, b), n in sorted(self.confusion.items())]
        return {"labels": labels, "confusion": confusion}


def _rates(found: int, wrong: int, missed: int) -> dict[str, float | None]:
    """Precision, recall and F1; None where they are of nothing."""
    precision = found / (found + wrong) if found + wrong else None
    recall = found / (found + missed) if found + missed else None
    of = 2 * found + wrong + missed
    return {"precision": precision, "recall": recall, "f1": 2 * found / of if of else None}


def calibration_error(told: Sequence[tuple[float, bool]]) -> float | None:
    """Expected calibration error: the weighted difference of confidence and precision over bins."""
    bins: defaultdict[int, list[tuple[float, bool]]] = defaultdict(list)
    for confidence, right in told:
        bins[min(_BINS - 1, int(confidence * _BINS))].append((confidence, right))
    apart = [abs(sum(c for c, _ in some) - sum(r for _, r in some)) for some in bins.values()]
    return sum(apart) / len(told) if told else None


def score(mine: Marked, gold: Marked, scores: Scores, *, tolerance_us: int = WINDOW_US) -> None:
    """Add one recording to the scores."""
    unscored = [event for event in gold.events if event.label == "unscored"]
    loose: dict[str, tuple[list[Cue], list[Cue]]] = {}
    for label, kinds in _marked_labels(gold).items():
        fits = _of(label, kinds)
        ours = [cue for cue in mine.cues if fits(cue)]
        theirs = [cue for cue in gold.cues if fits(cue)]
        hits = _matches(ours, theirs, tolerance_us)
        open_ = [event for event in unscored if event.kind == label]
        counted = [i for i in range(len(ours)) if i in hits or not _near_any(ours[i], open_, 0)]
        scores.labels[label].add(_count(ours, theirs, hits, counted, tolerance_us))
        scores.sure[label] += [(ours[i].confidence, i in hits) for i in counted]
        for kind in kinds if len(kinds) > 1 else ():
            picked = [cue for cue in ours if cue.kind == kind]
            marks = [cue for cue in theirs if cue.kind == kind]
            among = _matches(picked, marks, tolerance_us)
            gold_places = [i for i in range(len(picked)) if i in among or not _near_any(picked[i], open_, 0)]
            scores.kinds[label, kind].add(_count(picked, marks, among, gold_places, tolerance_us))
        taken = set(hits.values())
        loose[label] = (
            [cue for j, cue in enumerate(theirs) if j not in taken],
            [ours[i] for i in counted if i not in hits],
        )
    _confuse(loose, scores.confusion)
    if "self_correction" in loose:
        scores.reparandum.update(_reparandum_words(mine, gold))


def _marked_labels(gold: Marked) -> dict[str, tuple[str, ...]]:
    """The labels people marked, with their kinds; without a note of them, those of the cues there are."""
    for event in gold.events:
        if (event.label, event.kind) == ("note", "gold_labels"):
            fields = json.loads(event.payload)
            kinds = fields.get("gold_kinds") or {}
            return {name: tuple(kinds.get(name) or ()) for name in fields["gold_labels"] if name in CUE_KINDS}
    return {label: () for label in sorted({cue.label for cue in gold.cues})}


def _matches(ours: Sequence[Cue], theirs: Sequence[Cue], tolerance_us: int) -> dict[int, int]:
    """Place of each matched cue, and of its mark; longest common time first, then the nearest."""
    by_speaker: defaultdict[str | None, list[tuple[int, int]]] = defaultdict(list)
    for place, cue in enumerate(theirs):
        by_speaker[cue.speaker].append((cue.start_us, place))
    longest_us = max((cue.span.duration_us for cue in theirs), default=0)
    for places in by_speaker.values():
        places.sort()
    pairs: list[tuple[int, int, int]] = []
    for place, cue in enumerate(ours):
        for other in _around(by_speaker[cue.speaker], cue, longest_us + tolerance_us, tolerance_us):
            common_us = _common_us(cue, theirs[other])
            if common_us > 0 or (tolerance_us and common_us >= -tolerance_us):
                pairs.append((-common_us, place, other))
    # Greedy by longest common time: each cue and each mark is used once.
    matches: dict[int, int] = {}
    taken: set[int] = set()
    for _, place, other in sorted(pairs):
        if place not in matches and other not in taken:
            matches[place] = other
            taken.add(other)
    return matches


def _around(places: Sequence[tuple[int, int]], cue: Cue, before_us: int, after_us: int) -> Iterable[int]:
    first = bisect_left(places, (cue.start_us - before_us, -1))
    for start_us, place in places[first:]:
        if start_us > cue.stop_us + after_us:
            return
        yield place


def _common_us(left: Cue | Event, right: Cue | Event) -> int:
    """Common time; minus the time between them where there is none."""
    return min(left.stop_us, right.stop_us) - max(left.start_us, right.start_us)


def _near_any(cue: Cue, others: Iterable[Cue | Event], tolerance_us: int) -> bool:
    return any(o.speaker == cue.speaker and _common_us(cue, o) > -tolerance_us for o in others)


def _of(label: str, kinds: Sequence[str]) -> Callable[[Cue], bool]:
    return lambda cue: cue.label == label and (not kinds or not cue.kind or cue.kind in kinds)


def _count(
    ours: Sequence[Cue],
    theirs: Sequence[Cue],
    hits: dict[int, int],
    counted: Iterable[int],
    tolerance_us: int,
) -> _Count:
    kept = list(counted)
    shares = [bool(_near_any(ours[i], theirs, tolerance_us)) for i in kept]
    met = sum(_near_any(cue, ours, tolerance_us) for cue in theirs)
    return _Count(
        found=len(hits),
        wrong=sum(i not in hits for i in kept),
        missed=len(theirs) - len(hits),
        any_found=met,
        any_wrong=len(shares) - sum(shares),
        any_missed=len(theirs) - met,
    )


def _confuse(loose: dict[str, tuple[list[Cue], list[Cue]]], confusion: Counter[tuple[str, str]]) -> None:
    """Marks that were missed where another label was wrongly found."""
    for label, (missed, _) in loose.items():
        for other, (_, wrong) in loose.items():
            if label != other:
                confusion[label, other] += len(_matches(wrong, missed, 0))


def _reparandum_words(mine: Marked, gold: Marked) -> Counter[str]:
    """Words inside reparanda, exactly: found, wrong, missed."""
    words = gold.words or mine.words
    open_ = [e for e in gold.events if e.label == "unscored" and e.kind == "self_correction"]
    ours, theirs = _inside(mine.cues, words), _inside(gold.cues, words)
    left_open = _words_in([(e.speaker, e.start_us, e.stop_us) for e in open_], words)
    return Counter(found=len(ours & theirs), wrong=len(ours - theirs - left_open), missed=len(theirs - ours))


def _inside(cues: Iterable[Cue], words: Sequence[Word]) -> set[int]:
    parts = [
        (cue.speaker, part.start_us, part.stop_us)
        for cue in cues
        if cue.label == "self_correction"
        for part in cue.spans
        if part.role == "reparandum"
    ]
    return _words_in(parts, words)


def _words_in(parts: Sequence[tuple[str | None, int, int]], words: Sequence[Word]) -> set[int]:
    """Places of the words that begin in one of the parts of their speaker."""
    starts: defaultdict[str | None, list[tuple[int, int]]] = defaultdict(list)
    for place, word in enumerate(words):
        if word.start_us is not None:
            starts[word.speaker].append((word.start_us, place))
    for listed in starts.values():
        listed.sort()
    inside: set[int] = set()
    for speaker, start_us, stop_us in parts:
        listed = starts[speaker]
        inside.update(
            place
            for _, place in listed[bisect_left(listed, (start_us, -1)) : bisect_left(listed, (stop_us, -1))]
        )
    return inside
