from __future__ import annotations

import hashlib
import random

from hypothesis import given
from hypothesis import strategies as st

from corpus.pipeline.split import Bond, assign
from corpus.schemas.settings import ClipSettings

HALVES = ClipSettings(validation_share=0.3, test_share=0.3)


def recording(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


bonds = st.lists(
    st.builds(
        lambda n, c, s: Bond(recording=recording(n), conversation=c, named_speakers=tuple(s)),
        st.integers(0, 40),
        st.none() | st.sampled_from(["x", "y", "z"]),
        st.lists(st.sampled_from(["Ann", "Bob", "Cid", "Dee"]), max_size=2),
    ),
    unique_by=lambda bond: bond.recording,
    max_size=25,
)


@given(bonds, st.randoms(use_true_random=False))
def test_nobody_is_on_two_sides_and_order_decides_nothing(items: list[Bond], rng: random.Random) -> None:
    sides = assign(items, HALVES)
    for tie in ("x", "y", "z"):
        assert len({sides[b.recording] for b in items if b.conversation == tie}) <= 1
    for name in ("Ann", "Bob", "Cid", "Dee"):
        assert len({sides[b.recording] for b in items if name in b.named_speakers}) <= 1
    shuffled = list(items)
    rng.shuffle(shuffled)
    assert assign(shuffled, HALVES) == sides


def test_a_speaker_and_a_conversation_of_one_name_are_no_tie() -> None:
    apart = [
        (a, b)
        for a in range(30)
        for b in range(30)
        if len(
            set(
                assign(
                    [
                        Bond(recording=recording(a), conversation="Ann", named_speakers=()),
                        Bond(recording=recording(b + 100), conversation=None, named_speakers=("Ann",)),
                    ],
                    HALVES,
                ).values()
            )
        )
        > 1
    ]
    assert apart


def test_shares_are_kept_over_many_recordings() -> None:
    items = [Bond(recording=recording(n), conversation=None, named_speakers=()) for n in range(4000)]
    sides = list(assign(items, ClipSettings(validation_share=0.05, test_share=0.1)).values())
    assert abs(sides.count("test") / 4000 - 0.1) < 0.02
    assert abs(sides.count("validation") / 4000 - 0.05) < 0.015
