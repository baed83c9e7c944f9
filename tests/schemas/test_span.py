from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus.schemas.span import Span, intersect, subtract, union

spans = st.lists(
    st.tuples(st.integers(-50, 50), st.integers(0, 30)).map(lambda p: Span(p[0], p[0] + p[1])), max_size=12
)


def points(items: list[Span]) -> set[int]:
    """The slow meaning of spans: the set of microseconds they hold."""
    return {t for span in items for t in range(span.start_us, span.stop_us)}


def test_a_span_that_ends_before_it_starts_is_refused() -> None:
    with pytest.raises(ValueError, match="ends before it starts"):
        Span(2, 1)


@given(spans)
def test_union_covers_the_same_time_and_is_ordered_and_disjoint(items: list[Span]) -> None:
    merged = union(items)
    assert points(merged) == points(items)
    assert all(a.stop_us < b.start_us for a, b in pairwise(merged))


@given(spans, st.integers(0, 20))
def test_union_bridges_exactly_the_short_gaps(items: list[Span], bridge_us: int) -> None:
    merged, plain = union(items, bridge_us=bridge_us), union(items)
    gaps = [(a.stop_us, b.start_us) for a, b in pairwise(plain)]
    filled = {t for a, b in gaps if b - a <= bridge_us for t in range(a, b)}
    assert points(merged) == points(plain) | filled


@given(spans, spans)
def test_intersect_and_subtract_are_set_operations(left: list[Span], right: list[Span]) -> None:
    assert points(intersect(left, right)) == points(left) & points(right)
    assert points(subtract(left, right)) == points(left) - points(right)


@given(spans, spans)
def test_pairwise_operators_agree_with_sets(left: list[Span], right: list[Span]) -> None:
    for a in left:
        for b in right:
            common = a & b
            assert points([common] if common else []) == points([a]) & points([b])
            assert bool(common) == (a.overlaps(b) and bool(a) and bool(b))
            if b:
                assert a.covers(b) == (points([b]) <= points([a]))
