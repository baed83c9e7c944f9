"""Which decisions concern the same item, and their outcome. Pure functions.

An adjudication wins, otherwise the majority of the annotators' latest decisions; a tie leaves the item
unchanged and is counted.
"""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar, get_args

from corpus.schemas.conversation import Cue, Turn, Word
from corpus.schemas.review import About, Judged, Review
from corpus.schemas.span import Span, intersect, union

T = TypeVar("T")


@dataclass(slots=True, kw_only=True)
class Group:
    """The decisions in force on one item, each annotator's latest, with speakers' current names."""

    about: About
    items: set[str] = field(default_factory=set)
    judged: list[Judged] = field(default_factory=list)
    latest: dict[str, Review] = field(default_factory=dict)
    lost: bool = False
    """Its speaker no longer exists."""
    stands: bool = False
    """The judged item is unchanged in the conversation."""

    @property
    def known(self) -> list[Judged]:
        """All versions of the item, judged or proposed."""
        return [*self.judged, *(part for review in self.latest.values() for part in review.becomes)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The outcome of a group's votes."""

    kind: str
    """`decided`, `tie` or `unsure`."""
    becomes: tuple[Judged, ...] = ()
    """Empty if the item was rejected."""
    who: tuple[str, ...] = ()
    share: float = 1.0
    """Share of the votes."""


# -- from rows to groups ----------------------------------------------------------------------


def standing(reviews: Iterable[Review]) -> list[Review]:
    """The decisions in force, in order: without undone ones and without undos."""
    ordered = sorted(reviews, key=lambda r: (r.sequence, r.id))
    owner = {r.id: r.annotator for r in ordered}
    undone = {r.undoes for r in ordered if r.verdict == "undo" and owner.get(r.undoes) == r.annotator}
    return [r for r in ordered if r.verdict != "undo" and r.id not in undone]


class Grouping:
    """Reviews in force of one recording, grouped by item as they come; speakers are named as in `turns`.

    Reviews of two different items in `items` are never grouped together.
    """

    def __init__(self, turns: Sequence[Turn] = (), items: Iterable[Cue | Word | Turn] = ()) -> None:
        self.groups: list[Group] = []
        self._talk = _talk(turns)
        self._there = {exact(judged(item)) for item in items}
        self._by_item: dict[tuple[About, str], int] = {}
        self._places = Near[int]()

    def put(self, review: Review) -> int:
        """Add the next review; returns the index in `groups` of its group."""
        about = review.about
        assert about is not None  # no undo is standing
        here, lost = _as_now(review, self._talk) if self._talk else (review, False)
        stands = here.judged is not None and exact(here.judged) in self._there
        number = self._by_item.get((about, review.item))
        if number is None:
            number = self._like(here, stands)
        if number is None:
            number = len(self.groups)
            self.groups.append(Group(about=about))
        group = self.groups[number]
        self._by_item[about, review.item] = number
        group.items.add(review.item)
        group.lost = lost
        group.stands = group.stands or stands
        if here.judged is not None and here.judged not in group.judged:
            group.judged.append(here.judged)
        name = f"{here.role}:{here.annotator}"
        group.latest.pop(name, None)
        group.latest[name] = here
        for part in (here.judged, *here.becomes):
            if part is not None:
                self._places.put(part, number)
        return number

    def same(self, item: str) -> frozenset[str]:
        """The ids under which an item was judged."""
        numbers = (self._by_item.get((about, item)) for about in get_args(About))
        return frozenset({item}).union(*(self.groups[n].items for n in numbers if n is not None))

    def _like(self, review: Review, stands: bool) -> int | None:
        """The group with an item at nearly the same span, whose id may differ."""
        for part in (review.judged,) if review.judged is not None else review.becomes:
            near = [
                (share, place, number)
                for place, (share, number) in enumerate(self._places.like(part))
                if not (stands and self.groups[number].stands)
            ]
            if near:
                return max(near, key=lambda found: found[:2])[2]
        return None


def groups(
    reviews: Iterable[Review], turns: Sequence[Turn], items: Iterable[Cue | Word | Turn] = ()
) -> list[Group]:
    """The reviews in force of one recording, grouped by item: see `Grouping`."""
    grouping = Grouping(turns, items)
    for review in standing(reviews):
        grouping.put(review)
    return grouping.groups


def _talk(turns: Iterable[Turn]) -> dict[str, list[Span]]:
    spans: dict[str, list[Span]] = defaultdict(list)
    for turn in turns:
        spans[turn.speaker].append(turn.span)
    return {name: union(of_speaker) for name, of_speaker in spans.items()}


def speakers_now(around: Sequence[Turn], talk: Mapping[str, Sequence[Span]]) -> dict[str, str | None]:
    """The current names of the speakers in `around`, by shared talking time; None if nobody shares any.

    A name that never talked in `around` is not in the result.
    """
    now: dict[str, str | None] = {}
    for name, spans in _talk(around).items():
        shared = {
            other: sum(s.duration_us for s in intersect(spans, of_speaker))
            for other, of_speaker in talk.items()
        }
        best = max(shared, key=lambda other: (shared[other], other == name), default=None)
        if best is not None and shared[best] > 0:
            now[name] = best
        else:
            now[name] = name if name in talk else None
    return now


def _as_now(review: Review, talk: Mapping[str, Sequence[Span]]) -> tuple[Review, bool]:
    """The review with speakers' current names, and whether the judged speaker no longer exists."""
    now = speakers_now(review.around, talk)

    def named(part: Judged) -> Judged:
        if part.cue is not None and part.cue.partner is not None:
            partner = now.get(part.cue.partner, part.cue.partner)
            part = Judged(cue=dataclasses.replace(part.cue, partner=partner))
        old = speaker_of(part)
        new = now.get(old, old) if old is not None else None
        return part if new is None or new == old else _with_speaker(part, new)

    judged = named(review.judged) if review.judged is not None else None
    becomes = tuple(named(part) for part in review.becomes)
    subject = review.judged or review.becomes[0]
    name = speaker_of(subject)
    lost = name is not None and name in now and now[name] is None
    return dataclasses.replace(review, judged=judged, becomes=becomes), lost


# -- parts of an item -------------------------------------------------------------------------


def content_of(part: Judged) -> Cue | Word | Turn | None:
    return part.cue or part.word or part.turn


def span_of(part: Judged) -> Span | None:
    content = content_of(part)
    return content.span if content is not None else None


def speaker_of(part: Judged) -> str | None:
    content = content_of(part)
    return content.speaker if content is not None else part.speaker


def _with_speaker(part: Judged, name: str) -> Judged:
    if part.cue is not None:
        return Judged(cue=dataclasses.replace(part.cue, speaker=name))
    if part.word is not None:
        return Judged(word=dataclasses.replace(part.word, speaker=name))
    if part.turn is not None:
        return Judged(turn=dataclasses.replace(part.turn, speaker=name))
    return Judged(speaker=name)


def shared(one: Span, other: Span) -> float:
    """Intersection over union, from 0 to 1."""
    common = min(one.stop_us, other.stop_us) - max(one.start_us, other.start_us)
    whole = max(one.stop_us, other.stop_us) - min(one.start_us, other.start_us)
    return max(common, 0) / whole if whole else 1.0


def _bucket(part: Judged) -> Hashable:
    """Only items in one bucket (kind of item, label, speaker) can be the same."""
    return (part.about, part.cue.label if part.cue is not None else "", speaker_of(part))


def judged(item: Cue | Word | Turn) -> Judged:
    if isinstance(item, Cue):
        return Judged(cue=item)
    return Judged(word=item) if isinstance(item, Word) else Judged(turn=item)


def exact(part: Judged) -> Hashable:
    span = span_of(part)
    times = (span.start_us, span.stop_us) if span is not None else None
    return (_bucket(part), _class(part), times)


_CELL_US = 5_000_000


class Near(Generic[T]):
    """Values stored by an item's span, for finding those near another span; fast at any number."""

    def __init__(self) -> None:
        self._cells: dict[Hashable, list[tuple[Span, T]]] = defaultdict(list)
        self._longest_us = 0

    def put(self, part: Judged, thing: T) -> None:
        span = span_of(part)
        if span is not None:
            self._cells[_bucket(part), span.start_us // _CELL_US].append((span, thing))
            self._longest_us = max(self._longest_us, span.duration_us)

    def like(self, part: Judged) -> list[tuple[float, T]]:
        """The value stored at an item of the same bucket that shares half of the union, and that share."""
        span = span_of(part)
        if span is None:
            return []
        before_us = min(span.duration_us, self._longest_us)  # one that began earlier shares less than half
        cells = range((span.start_us - before_us) // _CELL_US, span.stop_us // _CELL_US + 1)
        name = _bucket(part)
        return [
            (share, thing)
            for cell in cells
            for other, thing in self._cells.get((name, cell), ())
            if (share := shared(span, other)) >= 0.5
        ]


def class_of(becomes: Sequence[Judged]) -> tuple[Hashable, ...]:
    """The class by which votes are counted: everything but the times."""
    return tuple(_class(part) for part in becomes)


def _class(part: Judged) -> Hashable:
    if part.cue is not None:
        return (part.cue.label, part.cue.kind, part.cue.speaker)
    if part.word is not None:
        return (part.word.text, part.word.after, part.word.speaker)
    return speaker_of(part)


# -- the vote ---------------------------------------------------------------------------------


def ballot(review: Review) -> tuple[Judged, ...] | None:
    """What the item should be according to one decision; empty for a rejection, None for an abstention."""
    if review.verdict == "unsure":
        return None
    if review.verdict == "accept":
        assert review.judged is not None
        return (review.judged,)
    return review.becomes


def outcome(group: Group) -> Outcome:
    """An adjudication, otherwise the majority of the annotators' latest votes, with their median times."""
    last = list(group.latest.values())
    ruling = next((r for r in reversed(last) if r.role == "adjudication" and ballot(r) is not None), None)
    if ruling is not None:
        return Outcome(kind="decided", becomes=ballot(ruling) or (), who=(ruling.annotator,))
    votes: dict[tuple[Hashable, ...], list[tuple[str, tuple[Judged, ...]]]] = defaultdict(list)
    for review in last:
        cast = ballot(review)
        if cast is not None and review.role == "annotation":
            votes[class_of(cast)].append((review.annotator, cast))
    if not votes:
        return Outcome(kind="unsure")
    counts = Counter({name: len(cast) for name, cast in votes.items()})
    (first, most), *rest = counts.most_common(2)
    if rest and rest[0][1] == most:
        return Outcome(kind="tie")
    won = votes[first]
    return Outcome(
        kind="decided",
        becomes=_medians([cast for _, cast in won]),
        who=tuple(sorted(name for name, _ in won)),
        share=most / counts.total(),
    )


def _medians(ballots: Sequence[tuple[Judged, ...]]) -> tuple[Judged, ...]:
    """The latest ballot with the median start and stop of all ballots for each of its items."""
    return tuple(
        _with_times(parts[-1], [span for p in parts if (span := span_of(p)) is not None])
        for parts in zip(*ballots, strict=True)
    )


def _with_times(part: Judged, spans: Sequence[Span]) -> Judged:
    if not spans or len(spans) == 1:
        return part
    start_us, stop_us = _median([s.start_us for s in spans]), _median([s.stop_us for s in spans])
    if part.cue is not None:
        return Judged(cue=dataclasses.replace(part.cue, start_us=start_us, stop_us=stop_us))
    if part.word is not None:
        return Judged(
            word=dataclasses.replace(part.word, start_us=start_us, stop_us=stop_us, timing="measured")
        )
    assert part.turn is not None
    return Judged(turn=dataclasses.replace(part.turn, start_us=start_us, stop_us=stop_us))


def _median(values: Sequence[int]) -> int:
    """The median, rounded down between two values."""
    ordered, middle = sorted(values), len(values) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) // 2
