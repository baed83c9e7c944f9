"""Half-open intervals of integer microseconds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """Half-open interval `[start_us, stop_us)` on one recording's clock. May be empty."""

    start_us: int
    stop_us: int

    def __post_init__(self) -> None:
        if self.stop_us < self.start_us:
            raise ValueError(f"a span ends before it starts: [{self.start_us}, {self.stop_us}) us")

    @property
    def duration_us(self) -> int:
        return self.stop_us - self.start_us

    def __bool__(self) -> bool:
        return self.stop_us > self.start_us

    def __and__(self, other: Span) -> Span | None:
        """The intersection, or None if it is empty."""
        start_us, stop_us = max(self.start_us, other.start_us), min(self.stop_us, other.stop_us)
        return Span(start_us, stop_us) if start_us < stop_us else None

    def __contains__(self, time_us: int) -> bool:
        return self.start_us <= time_us < self.stop_us

    def covers(self, other: Span) -> bool:
        return self.start_us <= other.start_us and other.stop_us <= self.stop_us

    def overlaps(self, other: Span) -> bool:
        return self.start_us < other.stop_us and other.start_us < self.stop_us

    def shift(self, by_us: int) -> Span:
        return Span(self.start_us + by_us, self.stop_us + by_us)


def _times(span: Span) -> tuple[int, int]:
    return span.start_us, span.stop_us


def union(spans: Iterable[Span], *, bridge_us: int = 0) -> list[Span]:
    """Ordered disjoint spans that cover the same time; gaps of at most `bridge_us` are closed."""
    merged: list[Span] = []
    for span in sorted((s for s in spans if s), key=_times):
        if merged and span.start_us - merged[-1].stop_us <= bridge_us:
            merged[-1] = Span(merged[-1].start_us, max(merged[-1].stop_us, span.stop_us))
        else:
            merged.append(span)
    return merged


def intersect(left: Iterable[Span], right: Iterable[Span]) -> list[Span]:
    """Ordered disjoint spans in both `union(left)` and `union(right)`."""
    a, b, both = union(left), union(right), list[Span]()
    i = j = 0
    while i < len(a) and j < len(b):
        common = a[i] & b[j]
        if common:
            both.append(common)
        if a[i].stop_us <= b[j].stop_us:
            i += 1
        else:
            j += 1
    return both


def subtract(left: Iterable[Span], right: Iterable[Span]) -> list[Span]:
    """Ordered disjoint spans in `union(left)` and not in `union(right)`."""
    rest: list[Span] = []
    holes = union(right)
    first = 0
    for span in union(left):
        start_us = span.start_us
        while first < len(holes) and holes[first].stop_us <= start_us:
            first += 1
        for hole in holes[first:]:
            if hole.start_us >= span.stop_us:
                break
            if hole.start_us > start_us:
                rest.append(Span(start_us, hole.start_us))
            start_us = max(start_us, hole.stop_us)
        if start_us < span.stop_us:
            rest.append(Span(start_us, span.stop_us))
    return rest
