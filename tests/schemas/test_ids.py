from __future__ import annotations

import random
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from corpus.schemas.conversation import Conversation, Turn, Word
from corpus.schemas.ids import with_ids

turns = st.lists(
    st.builds(
        lambda who, start, length: Turn(speaker=who, start_us=start, stop_us=start + length),
        st.sampled_from("ab"),
        st.integers(0, 5),
        st.integers(0, 3),
    ),
    max_size=10,
)


@given(turns, st.randoms(use_true_random=False))
def test_ids_are_unique_and_do_not_depend_on_order(items: list[Turn], rng: random.Random) -> None:
    whole = Conversation(recording="r", duration_us=9, speakers=("a", "b"), turns=tuple(items))
    shuffled = list(items)
    rng.shuffle(shuffled)
    first, second = with_ids(whole), with_ids(replace(whole, turns=tuple(shuffled)))
    assert first == second
    assert len({t.id for t in first.turns}) == len(items)
    assert with_ids(first) == first


def test_words_keep_the_order_of_saying_when_times_are_unknown() -> None:
    words = tuple(
        Word(speaker="a", start_us=s, stop_us=s, text=t, timing="measured" if s is not None else "unknown")
        for t, s in [("one", 5), ("two", None), ("three", 7), ("four", None)]
    )
    whole = with_ids(Conversation(recording="r", duration_us=9, speakers=("a",), words=words))
    assert [w.text for w in whole.words] == ["one", "two", "three", "four"]
