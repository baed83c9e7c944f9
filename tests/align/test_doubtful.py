from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from corpus.align.doubtful import LONGEST_CHARACTERS, doubtful_words
from corpus.schemas.conversation import Word


def word(speaker: str, start_us: int, stop_us: int, text: str = "a") -> Word:
    return Word(speaker=speaker, start_us=start_us, stop_us=stop_us, text=text)


times = st.tuples(st.integers(0, 40), st.integers(0, 8)).map(lambda t: (t[0], t[0] + t[1]))
spoken = st.lists(st.tuples(st.sampled_from("AB"), times).map(lambda w: word(w[0], *w[1])), max_size=12)


@given(spoken)
def test_overlapping_words_are_those_that_begin_in_an_earlier_one(words: list[Word]) -> None:
    """Every pair is looked at; of words with the same times the later in order begins in the earlier."""
    ordered = sorted(words, key=lambda w: (w.start_us or 0, w.stop_us or 0))
    truth = sum(
        any(
            other.speaker == one.speaker and (other.stop_us or 0) > (one.start_us or 0)
            for other in ordered[:place]
        )
        for place, one in enumerate(ordered)
    )
    drops = [drop for drop in doubtful_words(words) if drop.code == "overlapping_words"]
    assert sum(drop.count for drop in drops) == truth


def test_very_long_words_are_reported_with_a_beginning() -> None:
    (drop,) = doubtful_words([word("A", 0, 9, "x" * 200), word("A", 9, 18, "y" * LONGEST_CHARACTERS)])
    assert (drop.code, drop.count, drop.kind, drop.start_us) == ("very_long_words", 1, "trim", 0)
    assert "x" * 40 in drop.reason and "x" * 41 not in drop.reason


def test_words_without_times_overlap_nothing() -> None:
    timeless = Word(speaker="A", start_us=None, stop_us=None, text="a", timing="unknown")
    assert doubtful_words([timeless, timeless, word("A", 0, 5), word("B", 0, 5)]) == []
