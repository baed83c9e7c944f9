"""Whose a word is, against a search of all ways to give the words to speakers; and what a second try adds."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.align.attribute import TurnIndex
from corpus.align.heard import Heard, words_drop
from corpus.align.unheard import LEAST_US, NEAR_US, newly_heard, together, unheard
from corpus.align.whose_words import said_by
from corpus.schemas.conversation import Turn
from corpus.schemas.span import Span, intersect, union

MS = 1000


def turn(speaker: str, start_ms: int, stop_ms: int) -> Turn:
    return Turn(speaker=speaker, start_us=start_ms * MS, stop_us=stop_ms * MS)


def word(text: str, start_ms: int, stop_ms: int, probability: float = 0.9) -> Heard:
    return Heard(Span(start_ms * MS, stop_ms * MS), text, probability)


def sentence(text: str, start_ms: int, each_ms: int = 300) -> list[Heard]:
    return [word(t, start_ms + i * each_ms, start_ms + (i + 1) * each_ms) for i, t in enumerate(text.split())]


def test_an_edge_that_is_off_by_a_word_does_not_cut_a_sentence() -> None:
    words = sentence("I don't know. Yeah, I see.", 0)
    index = TurnIndex.of([turn("A", 0, 580), turn("B", 620, 1800)])
    assert said_by(words, index) == ["A", "A", "A", "B", "B", "B"]


def test_whoever_talks_alone_through_words_has_them() -> None:
    words = sentence("so we should go then", 0)
    index = TurnIndex.of([turn("A", 0, 600), turn("B", 600, 1500)])
    assert said_by(words, index) == ["A", "A", "B", "B", "B"]


def test_a_word_far_from_all_turns_is_nobodys_and_the_path_goes_on_around_it() -> None:
    words = [word("one", 0, 300), word("far", 5_000, 5_300), word("two", 9_000, 9_300)]
    assert said_by(words, TurnIndex.of([turn("A", 0, 400), turn("B", 9_000, 9_400)])) == ["A", None, "B"]
    assert said_by([], TurnIndex.of([])) == []
    assert said_by(words, TurnIndex.of([])) == [None, None, None]


def cost_of(words: list[Heard], turns: list[Turn], speakers: tuple[str, ...]) -> float:
    """The rule itself, a word and a neighbour at a time."""
    total = 0.0
    for place, (one, name) in enumerate(zip(words, speakers, strict=True)):
        theirs = [t.span for t in turns if t.speaker == name]
        covered = sum(s.duration_us for s in intersect([one.span], union(theirs)))
        gap = min(max(t.start_us - one.span.stop_us, one.span.start_us - t.stop_us, 0) for t in theirs)
        if gap > 500 * MS:
            return float("inf")
        total += 1 - covered / one.span.duration_us + gap / (500 * MS)
        if place and speakers[place - 1] != name:
            before = words[place - 1]
            silent = one.span.start_us - before.span.stop_us >= 500 * MS
            total += 0.0 if silent or before.written[-1] in ".?!" else 1.0
    return total


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from("ABC"), st.integers(0, 3000), st.integers(1, 1500)), min_size=1, max_size=5
    ),
    st.lists(st.tuples(st.integers(0, 700), st.integers(30, 500), st.sampled_from(["x", "x."])), max_size=6),
)
def test_no_other_way_to_give_the_words_costs_less(
    parts: list[tuple[str, int, int]], lengths: list[tuple[int, int, str]]
) -> None:
    # one speaker's turns do not overlap, as everywhere
    spans = {name: union(Span(a * MS, (a + n) * MS) for s, a, n in parts if s == name) for name in "ABC"}
    turns = [Turn(speaker=n, start_us=s.start_us, stop_us=s.stop_us) for n, ss in spans.items() for s in ss]
    words: list[Heard] = []
    at = 0
    for gap, length, text in lengths:
        words.append(word(text, at + gap, at + gap + length))
        at += gap + length
    found = said_by(words, TurnIndex.of(turns))
    told = [w for w, name in zip(words, found, strict=True) if name is not None]
    names = sorted({t.speaker for t in turns})
    for one, name in zip(words, found, strict=True):
        near = any(
            max(t.start_us - one.span.stop_us, one.span.start_us - t.stop_us) <= 500 * MS for t in turns
        )
        assert (name is not None) == near
    least = min((cost_of(told, turns, way) for way in product(names, repeat=len(told))), default=0.0)
    assert cost_of(told, turns, tuple(name for name in found if name)) == pytest.approx(least)


spans_of = st.lists(
    st.builds(lambda a, n: Span(a, a + n), st.integers(0, 60_000_000), st.integers(1, 9_000_000))
)


@settings(max_examples=150, deadline=None)
@given(spans_of, spans_of)
def test_what_is_tried_again_is_long_talk_far_from_words(talk: list[Span], words: list[Span]) -> None:
    missing = unheard(talk, words)
    assert all(span.duration_us >= LEAST_US for span in missing)
    assert intersect(missing, talk) == missing
    assert not intersect(missing, [Span(max(0, w.start_us - NEAR_US), w.stop_us + NEAR_US) for w in words])
    whole = Span(0, 70_000_000)
    sound = together(missing, whole)
    assert intersect(sound, missing) == missing and all(whole.covers(span) for span in sound)


def test_a_second_try_adds_only_sure_words_in_the_holes() -> None:
    missing = [Span(2_000 * MS, 4_000 * MS)]
    found = [word("known", 1_500, 1_900), word("new", 2_100, 2_500, 0.8), word("words", 2_500, 2_900, 0.4)]
    assert newly_heard(found, missing) == (found[1:], [])
    words, drops = newly_heard([word("made", 2_100, 2_500, 0.4), word("up", 2_500, 2_900, 0.5)], missing)
    assert words == []
    assert [(drop.code, drop.count) for drop in drops] == [("unsure_words", 2)]
    assert newly_heard(found[:1], missing) == ([], [])
    # The network that writes down its prompt heard little of what is there.
    echo = words_drop("prompt_words", "is the prompt", found[:1])
    words, drops = newly_heard(found, missing, [echo])
    assert (words, [drop.code for drop in drops]) == ([], ["unsure_words"])
    assert newly_heard(found, missing, [words_drop("words_too_fast", "", found[:1])]) == (found[1:], [])
