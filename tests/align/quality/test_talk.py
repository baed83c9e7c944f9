"""Facts of talk against a reference that looks at every 10 ms."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus.align.quality.talk import TalkIndex
from corpus.schemas.conversation import Turn, Word
from corpus.schemas.span import Span

STEP = 10_000
times = st.integers(0, 500).map(lambda step: step * STEP)
spans = st.tuples(times, times).filter(lambda pair: pair[0] != pair[1]).map(sorted)
turns = st.lists(
    st.tuples(st.sampled_from("ABC"), spans).map(
        lambda one: Turn(speaker=one[0], start_us=one[1][0], stop_us=one[1][1])
    ),
    max_size=8,
)


@given(turns, spans)
def test_shares_and_monologue_are_those_of_every_step(talk: list[Turn], part: list[int]) -> None:
    found = TalkIndex(talk, ()).of(Span(*part))
    talking = [
        frozenset(t.speaker for t in talk if t.start_us <= at < t.stop_us) for at in range(*part, STEP)
    ]
    assert found.speech_share == pytest.approx(sum(map(bool, talking)) / len(talking))
    assert found.overlap_share == pytest.approx(sum(len(who) > 1 for who in talking) / len(talking))
    assert found.monologue_us == longest_alone(talking) * STEP
    assert found.words_per_second is None


def longest_alone(talking: list[frozenset[str]]) -> int:
    """Try every stretch: it begins and ends with talk, and one voice alone is in it."""
    best = 0
    for start in range(len(talking)):
        who: set[str] = set()
        for stop in range(start, len(talking)):
            who |= talking[stop]
            if len(who) > 1:
                break
            if talking[start] and talking[stop]:
                best = max(best, stop - start + 1)
    return best


def word(start_us: int | None, confidence: float | None = None) -> Word:
    timing = "unknown" if start_us is None else "measured"
    stop_us = None if start_us is None else start_us + 100_000
    return Word(
        speaker="A", start_us=start_us, stop_us=stop_us, text="a", timing=timing, confidence=confidence
    )


def test_words_a_second_are_of_each_ones_talk() -> None:
    talk = [Turn(speaker=name, start_us=0, stop_us=2_000_000) for name in "AB"]
    words = [word(0, 0.5), word(1_900_000, 1.0), word(2_000_000, 0.1), word(None), word(500_000)]
    found = TalkIndex(talk, words).of(Span(0, 2_000_000))
    assert found.words_per_second == 3 / 4
    assert found.word_confidence == 0.75


def test_too_little_talk_tells_no_speed() -> None:
    talk = [Turn(speaker="A", start_us=0, stop_us=900_000)]
    assert TalkIndex(talk, [word(0)]).of(Span(0, 5_000_000)).words_per_second is None
    silent = TalkIndex([Turn(speaker="A", start_us=0, stop_us=3_000_000)], [word(9_000_000)])
    assert silent.of(Span(0, 5_000_000)).words_per_second == 0.0
