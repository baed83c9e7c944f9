"""How far annotators agree, and how good the labelers are by their judgement. Pure."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import median

from corpus.schemas.votes import Group, ballot, class_of, outcome, span_of

Unit = Mapping[str, Hashable]
"""What each annotator said of one item."""

CLOSE_MS = (50, 100, 200)


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
        counts = Counter(unit.values())
        size = counts.total()
        if size < 2:
            continue
        totals += counts
        same += sum(count * (count - 1) for count in counts.values()) / (size - 1)
    whole = totals.total()
    if whole < 2:
        return None
    expected = 1 - sum(count * (count - 1) for count in totals.values()) / (whole * (whole - 1))
    return None if expected == 0 else 1 - (1 - same / whole) / expected


def wilson(hits: int, total: int, z: float = 1.96) -> tuple[float, float]:
    """The 95 % confidence interval of a share (Wilson 1927); everything where nothing was seen."""
    if not total:
        return 0.0, 1.0
    share, square = hits / total, z * z / total
    middle = (share + square / 2) / (1 + square)
    half = z * math.sqrt(share * (1 - share) / total + square / (4 * total)) / (1 + square)
    return max(0.0, middle - half), min(1.0, middle + half)


@dataclass(frozen=True, slots=True, kw_only=True)
class Boundaries:
    """How far apart annotators set the ends of what both found there."""

    ends: int
    median_ms: float | None
    within: tuple[float, ...]
    """Share of ends within 50, 100 and 200 ms."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Of one label, or of one pair of annotators."""

    name: str
    items: int
    """Judged by two or more."""
    agree: float | None
    """Share of pairs of judgements that are the same."""
    kappa: float | None
    """Mean over pairs of annotators, weighted by the items both judged."""
    alpha: float | None
    boundaries: Boundaries


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """A labeler's label by people's judgement."""

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
    """Found by people, missed by every labeler."""
    recall: float | None
    """Right ones among the right and the added: as good as people's search for what is missing."""
    recall_low: float
    recall_high: float

    @property
    def doubtful(self) -> bool:
        """People reject so many that half may be wrong: its thresholds deserve a look."""
        return self.judged >= 10 and self.precision_high < 0.75


@dataclass(frozen=True, slots=True, kw_only=True)
class AgreementReport:
    """All of it, as `corpus review agree --json` gives it."""

    decisions: int
    items: int
    annotators: tuple[str, ...]
    doubly: int
    """Items judged by two or more."""
    disputed: int
    """Of those: not all the same and not adjudicated."""
    labels: tuple[Agreement, ...]
    pairs: tuple[Agreement, ...]
    quality: tuple[Quality, ...]


def agreement(groups: Sequence[Group]) -> AgreementReport:
    """Agreement by label and by pair, and the quality of every labeler, from groups of all recordings."""
    by_label: dict[str, list[Group]] = defaultdict(list)
    by_pair: dict[tuple[str, str], list[Group]] = defaultdict(list)
    annotators: set[str] = set()
    decisions = doubly = disputed = 0
    for group in groups:
        said = said_of(group)
        annotators |= {review.annotator for review in group.latest.values()}
        decisions += len(group.latest)
        if len(said) < 2:
            continue
        doubly += 1
        disputed += is_disputed(group)
        by_label[label_of(group)].append(group)
        for pair in combinations(sorted(said), 2):
            by_pair[pair].append(group)
    return AgreementReport(
        decisions=decisions,
        items=len(groups),
        annotators=tuple(sorted(annotators)),
        doubly=doubly,
        disputed=disputed,
        labels=tuple(_agreement(name, found) for name, found in sorted(by_label.items())),
        pairs=tuple(_agreement(" and ".join(p), found, set(p)) for p, found in sorted(by_pair.items())),
        quality=quality(groups),
    )


def label_of(group: Group) -> str:
    """The label a group's item had when it was judged, or was added with; else what it is."""
    cue = group.known[0].cue if group.known else None
    return cue.label if cue is not None else group.about


def said_of(group: Group) -> dict[str, Hashable]:
    """What every annotator says of the item; those who abstain and adjudicators say nothing."""
    said: dict[str, Hashable] = {}
    for review in group.latest.values():
        cast = ballot(review)
        if cast is not None and review.role == "annotation":
            said[review.annotator] = class_of(cast)
    return said


def is_disputed(group: Group) -> bool:
    ruled = any(r.role == "adjudication" and ballot(r) is not None for r in group.latest.values())
    return not ruled and len(set(said_of(group).values())) > 1


def _agreement(name: str, groups: Sequence[Group], only: set[str] | None = None) -> Agreement:
    units = [
        {who: what for who, what in said_of(group).items() if only is None or who in only} for group in groups
    ]
    pairs: dict[tuple[str, str], list[tuple[Hashable, Hashable]]] = defaultdict(list)
    for unit in units:
        for a, b in combinations(sorted(unit), 2):
            pairs[a, b].append((unit[a], unit[b]))
    total = sum(len(found) for found in pairs.values())
    same = sum(a == b for found in pairs.values() for a, b in found)
    weighted = [(len(found), k) for found in pairs.values() if (k := kappa(found)) is not None]
    weight = sum(count for count, _ in weighted)
    return Agreement(
        name=name,
        items=len(units),
        agree=same / total if total else None,
        kappa=sum(count * k for count, k in weighted) / weight if weight else None,
        alpha=alpha(units),
        boundaries=boundaries(groups, only),
    )


def boundaries(groups: Iterable[Group], only: set[str] | None = None) -> Boundaries:
    """Distances of starts and of stops, for every pair that says the item is there."""
    apart_ms: list[float] = []
    for group in groups:
        spans = [
            span
            for review in group.latest.values()
            if review.role == "annotation" and (only is None or review.annotator in only)
            if (cast := ballot(review)) and len(cast) == 1 and (span := span_of(cast[0])) is not None
        ]
        for one, other in combinations(spans, 2):
            apart_ms += [abs(one.start_us - other.start_us) / 1e3, abs(one.stop_us - other.stop_us) / 1e3]
    count = len(apart_ms)
    return Boundaries(
        ends=count,
        median_ms=median(apart_ms) if apart_ms else None,
        within=tuple(sum(ms <= limit for ms in apart_ms) / count if count else 0.0 for limit in CLOSE_MS),
    )


def quality(groups: Iterable[Group]) -> tuple[Quality, ...]:
    """Precision and recall of each labeler by what people decided of cues; undecided ones count nowhere."""
    every: dict[tuple[str, str, str], list[tuple[bool, bool]]] = defaultdict(list)
    added: Counter[tuple[str, str]] = Counter()
    for group in groups:
        decided = outcome(group) if group.about == "cue" else None
        if decided is None or decided.kind != "decided":
            continue
        after = {(p.cue.label, p.cue.kind) for p in decided.becomes if p.cue is not None}
        first = group.judged[0].cue if group.judged else None
        if first is None:
            added.update(after)
        elif not first.origin.startswith("human:"):
            random = any(r.draw == "random" for r in group.latest.values())
            right = first.label in {label for label, _ in after}
            every[first.origin, first.label, first.kind].append((right, random))
    return tuple(_quality(name, found, added) for name, found in sorted(every.items()))


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
