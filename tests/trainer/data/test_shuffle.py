"""The order of documents is a permutation, a function of seed and epoch."""

from __future__ import annotations

import sys
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.trainer.data.shuffle import Shuffle


@given(count=st.integers(1, 700), seed=st.integers(0, 2**63), epoch=st.integers(0, 100))
@settings(max_examples=60)
def test_every_document_stands_at_one_place(count: int, seed: int, epoch: int) -> None:
    assert sorted(Shuffle(count, seed, epoch)[place] for place in range(count)) == list(range(count))


def test_epochs_and_seeds_differ_and_the_same_is_the_same() -> None:
    orders = {(s, e): tuple(Shuffle(50, s, e)[k] for k in range(50)) for s in range(4) for e in range(4)}
    assert len(set(orders.values())) == 16
    assert orders[1, 2] == tuple(Shuffle(50, 1, 2)[k] for k in range(50))


def test_documents_do_not_stay_near_their_neighbours() -> None:
    """Of a shuffle's n - 1 pairs of neighbours about two were neighbours before."""
    order = [Shuffle(1000, 7, 0)[place] for place in range(1000)]
    together = sum(abs(a - b) == 1 for a, b in pairwise(order))
    assert together < 12


def test_billions_take_no_memory() -> None:
    order = Shuffle(10**11, 0, 3)
    assert 0 <= order[10**11 - 1] < 10**11
    assert sys.getsizeof(order) < 200


def test_places_outside_are_refused() -> None:
    with pytest.raises(IndexError):
        Shuffle(3, 0, 0)[3]
    with pytest.raises(ValueError, match="nothing to order"):
        Shuffle(0, 0, 0)
