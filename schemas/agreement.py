"""How well annotators agree, and how good they found the labelers. Pure functions."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import median

from corpus.schemas.span import Span
from corpus.schemas.votes import Group, ballot, class_of, outcome, span_of

Unit = Mapping[str, Hashable]
"""What each annotator said of one item."""

_CLOSE_MS = (50, 100, 200)


def kappa(pairs: Sequence[tuple[Hashable, Hashable]]) -> float | None:
    """Cohen's kappa of two annotators over the items both judged; None where it is not defined."""
    if not pairs:
        return None
    total = len(pairs)
    seen = sum(a == b for a, b in pairs) / total
    left, right = Counter(a for a, _ in pairs), Counter(b for _, b in pairs)
    chance = sum(count * right[name] for name, count in left.items()) / total**2
    return None if chance == 1 else (seen - chance) / (1 - chance)


def alpha(units: Iterable[Unit]) -> float | None:
    """Krippendorff's alpha, nominal, missing values allowed; None where it is not defined."""
    totals: Counter[Hashable] = Counter()
    same = 0.0
    for unit in units:
        values = list(unit.values())
        if len(values) < 2:
            continue
        totals.update(values)
        same += (sum(a == b for a in values for b in values) - len(values)) / (len(values) - 1)
    whole = totals.total()
    if whole < 2:
        return None
    expected = 1 - sum(count * (count - 1) for count in totals.values()) / (whole * (whole - 1))
    return None if expected == 0 else 1 - (1 - same / whole) / expected


def wilson(hits: int, total: int, z: float = 1.96) -> tuple[float, float]:
    """The 95 % confidence interval of a share (Wilson 1927); [0, 1] without any observations."""
    if not total:
        return 0.0, 1.0
    share, square = hits / total, z * z / total
    middle = (share + square / 2) / (1 + square)
    half = z * math.sqrt(share * (1 - share) / total + square / (4 * total)) / (1 + square)
    return max(0.0, middle - half), min(1.0, middle + half)


@dataclass(frozen=True, slots=True, kw_only=True)
class Boundaries:
    """How far apart two annotators set the boundaries of an item that both found."""

    ends: int
    median_ms: float | None
    within: tuple[float, ...]
    """Share of boundaries within 50, 100 and 200 ms."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Agreement on one label, or between one pair of annotators."""

    name: str
    items: int
    """Items judged by two or more annotators."""
    agree: float | None
    """Share of pairs of judgements that are the same."""
    kappa: float | None
    """Mean over pairs of annotators, weighted by the items both judged."""
    alpha: float | None
    boundaries: Boundaries


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """The quality of one label of a labeler, as judged by annotators."""

    origin: str
    label: str
    kind: str
    judged: int
    right: int
    sampled: bool
    """All counted items were drawn at random: the precision is unbiased."""
    precision: float | None
    precision_low: float
    precision_high: float
    added: int
    """Cues that people found and every labeler missed."""
    recall: float | None
    """Correct cues as a share of correct and added ones: only as good as people's search for missing cues."""
    recall_low: float
    recall_high: float

    @property
    def doubtful(self) -> bool:
        """True if people reject so many that half may be wrong: check the label's thresholds."""
        return self.judged >= 10 and self.precision_high < 0.75


@dataclass(frozen=True, slots=True, kw_only=True)
class AgreementReport:
    """The whole report, as printed by `corpus review agree --json`."""

    decisions: int
    items: int
    annotators: tuple[str, ...]
    doubly: int
    """Items judged by two or more."""
    disputed: int
    """Items of `doubly` on which annotators differ and nobody has ruled."""
    labels: tuple[Agreement, ...]
    pairs: tuple[Agreement, ...]
    quality: tuple[Quality, ...]


@dataclass(frozen=True, slots=True)
class Fact:
    """What the measures need to know about one item; unchanged until somebody decides in its recording."""

    label: str
    """The label when the item was judged or added; for anything but a cue, its type."""
    said: dict[str, Hashable]
    """By annotator: what the item should be, ignoring times. Without abstentions and rulings."""
    spans: dict[str, Span]
    """By annotator, for those who say the item is there."""
    annotators: frozenset[str]
    decisions: int
    disputed: bool
    """Annotators differ, and nobody has ruled."""
    judged: tuple[str, str, str] | None
    """Origin, label and kind of a machine-made cue, if a decision was reached."""
    right: bool
    """The decision keeps the cue's label."""
    sampled: bool
    added: tuple[tuple[str, str], ...]
    """Label and kind of cues that people added."""


def facts(groups: Iterable[Group]) -> list[Fact]:
    return [_fact(group) for group in groups]


def _fact(group: Group) -> Fact:
    said: dict[str, Hashable] = {}
    spans: dict[str, Span] = {}
    ruled = False
    for review in group.latest.values():
        cast = ballot(review)
        if cast is None:
            continue
        if review.role == "adjudication":
            ruled = True
            continue
        said[review.annotator] = class_of(cast)
        if len(cast) == 1 and (span := span_of(cast[0])) is not None:
            spans[review.annotator] = span
    decided = outcome(group) if group.about == "cue" else None
    after = [p.cue for p in decided.becomes if p.cue is not None] if decided is not None else []
    first = group.judged[0].cue if group.judged else None
    settled = decided is not None and decided.kind == "decided"
    machine = settled and first is not None and not first.origin.startswith("human:")
    known = group.known[0].cue if group.known else None
    return Fact(
        label=known.label if known is not None else group.about,
        said=said,
        spans=spans,
        annotators=frozenset(review.annotator for review in group.latest.values()),
        decisions=len(group.latest),
        disputed=not ruled and len(set(said.values())) > 1,
        judged=(first.origin, first.label, first.kind) if machine and first is not None else None,
        right=first is not None and any(cue.label == first.label for cue in after),
        sampled=any(review.draw == "random" for review in group.latest.values()),
        added=tuple((cue.label, cue.kind) for cue in after) if settled and first is None else (),
    )


def agreement(groups: Iterable[Group]) -> AgreementReport:
    """Agreement by label and by pair, and the quality of every labeler, from groups of all recordings."""
    return report_of(facts(groups))


def report_of(found: Sequence[Fact]) -> AgreementReport:
    by_label: dict[str, list[Fact]] = defaultdict(list)
    by_pair: dict[tuple[str, str], list[Fact]] = defaultdict(list)
    doubly = [fact for fact in found if len(fact.said) > 1]
    for fact in doubly:
        by_label[fact.label].append(fact)
        for pair in combinations(sorted(fact.said), 2):
            by_pair[pair].append(fact)
    return AgreementReport(
        decisions=sum(fact.decisions for fact in found),
        items=len(found),
        annotators=tuple(sorted(frozenset[str]().union(*{fact.annotators for fact in found}))),
        doubly=len(doubly),
        disputed=sum(fact.disputed for fact in doubly),
        labels=tuple(_agreement(name, of) for name, of in sorted(by_label.items())),
        pairs=tuple(_agreement(" and ".join(p), of, set(p)) for p, of in sorted(by_pair.items())),
        quality=_qualities(found),
    )


def _agreement(name: str, found: Sequence[Fact], only: set[str] | None = None) -> Agreement:
    units = [
        fact.said if only is None else {who: what for who, what in fact.said.items() if who in only}
        for fact in found
    ]
    pairs: dict[tuple[str, str], list[tuple[Hashable, Hashable]]] = defaultdict(list)
    for unit in units:
        for a, b in combinations(sorted(unit), 2):
            pairs[a, b].append((unit[a], unit[b]))
    total = sum(len(of) for of in pairs.values())
    same = sum(a == b for of in pairs.values() for a, b in of)
    weighted = [(len(of), k) for of in pairs.values() if (k := kappa(of)) is not None]
    weight = sum(count for count, _ in weighted)
    return Agreement(
        name=name,
        items=len(units),
        agree=same / total if total else None,
        kappa=sum(count * k for count, k in weighted) / weight if weight else None,
        alpha=alpha(units),
        boundaries=_boundaries(found, only),
    )


def _boundaries(found: Iterable[Fact], only: set[str] | None) -> Boundaries:
    """Distances between starts and between stops, for every pair of annotators who say the item is there."""
    apart_ms: list[float] = []
    for fact in found:
        spans = [span for who, span in fact.spans.items() if only is None or who in only]
        for one, other in combinations(spans, 2):
            apart_ms += [abs(one.start_us - other.start_us) / 1e3, abs(one.stop_us - other.stop_us) / 1e3]
    count = len(apart_ms)
    return Boundaries(
        ends=count,
        median_ms=median(apart_ms) if apart_ms else None,
        within=tuple(sum(ms <= limit for ms in apart_ms) / count if count else 0.0 for limit in _CLOSE_MS),
    )


def _qualities(found: Iterable[Fact]) -> tuple[Quality, ...]:
    """Precision and recall of each labeler by people's decisions on cues; undecided cues do not count."""
    every: dict[tuple[str, str, str], list[tuple[bool, bool]]] = defaultdict(list)
    added: Counter[tuple[str, str]] = Counter()
    for fact in found:
        added.update(fact.added)
        if fact.judged is not None:
            every[fact.judged].append((fact.right, fact.sampled))
    return tuple(_quality(name, of, added) for name, of in sorted(every.items()))


def _quality(
    name: tuple[str, str, str], found: Sequence[tuple[bool, bool]], added: Mapping[tuple[str, str], int]
) -> Quality:
    drawn = [right for right, random in found if random]
    counted = drawn or [right for right, _ in found]
    right, judged = sum(counted), len(counted)
    there = sum(right for right, _ in found)
    missed = added.get(name[1:], 0)
    low, high = wilson(right, judged)
    recall_low, recall_high = wilson(there, there + missed)
    return Quality(
        origin=name[0],
        label=name[1],
        kind=name[2],
        judged=judged,
        right=right,
        sampled=bool(drawn),
        precision=right / judged if judged else None,
        precision_low=low,
        precision_high=high,
        added=missed,
        recall=there / (there + missed) if there + missed else None,
        recall_low=recall_low,
        recall_high=recall_high,
    )
