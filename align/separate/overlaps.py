"""Finds overlaps, and the sound around each that tells the voices apart.

A  ────────────────────          heard: the overlap and up to `_CONTEXT_US` on either side, up to where
B              ─────────────     somebody else begins to talk
   |--alone--|both |--alone--|
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from corpus.schemas.span import Span, intersect, subtract, union

_CONTEXT_US = 3_000_000
LONGEST_US = 30_000_000
"""A longer overlap is no conversation, and too much to give to a network at once."""

Talk = Mapping[str, Sequence[Span]]


@dataclass(frozen=True, slots=True)
class Overlap:
    """A stretch in which several talk."""

    span: Span
    heard: Span
    """The sound that is needed to separate it."""
    speakers: tuple[str, ...]


def several_talk(talk: Talk) -> list[Span]:
    """Spans in which two or more talk, ordered and disjoint."""
    both: list[Span] = []
    before: list[Span] = []
    for spans in talk.values():
        both += intersect(before, spans)
        before = union([*before, *spans])
    return union(both)


def alone(talk: Talk, name: str) -> list[Span]:
    """Spans in which only this speaker talks."""
    return subtract(talk[name], [span for other, theirs in talk.items() if other != name for span in theirs])


def near(spans: Sequence[Span], around: Span) -> Sequence[Span]:
    """The spans that touch `around`; they are ordered and disjoint, so not all are examined."""
    first = bisect_right(spans, around.start_us, key=lambda span: span.stop_us)
    return spans[first : bisect_left(spans, around.stop_us, lo=first, key=lambda span: span.start_us)]


def overlaps(talk: Talk, written: Sequence[Span]) -> list[Overlap]:
    """The overlaps in written time, in order, each inside one stretch of it."""
    stretches: list[Overlap] = []
    both = several_talk(talk)
    for stretch in written:
        for span in intersect(both, [stretch]):
            speakers = tuple(name for name, spans in talk.items() if near(spans, span))
            wide = Span(
                max(stretch.start_us, span.start_us - _CONTEXT_US),
                min(stretch.stop_us, span.stop_us + _CONTEXT_US),
            )
            others = [s for name, spans in talk.items() if name not in speakers for s in near(spans, wide)]
            # The part around the overlap in which nobody else talks.
            heard = next(free for free in subtract([wide], others) if free.covers(span))
            stretches.append(Overlap(span, heard, speakers))
    return stretches
