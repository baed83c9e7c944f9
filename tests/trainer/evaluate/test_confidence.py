"""Intervals against slow references, and against how often they hold the truth."""

from __future__ import annotations

import numpy as np
import pytest

from corpus.trainer.evaluate.confidence import DRAWS, draws, measure, quantile, ratio, share


def test_draws_are_documents_with_replacement_and_always_the_same() -> None:
    drawn_BD = draws(7)
    assert drawn_BD.shape == (DRAWS, 7) and (drawn_BD.sum(1) == 7).all()
    assert np.array_equal(drawn_BD, draws(7))
    assert drawn_BD.mean() == 1.0 and 0.75 < drawn_BD.var() < 0.95  # a binomial of 7 and 1/7: 6/7
    assert draws(0).shape == (DRAWS, 0)


def test_ratio_is_that_of_each_drawn_set() -> None:
    rng = np.random.default_rng(0)
    below = rng.integers(1, 5, 9).astype(float)
    above = rng.binomial(below.astype(int), 0.4).astype(float)
    drawn_BD = draws(9)
    found = ratio(above, below, drawn_BD)
    slow = []
    for drawn in drawn_BD:
        chosen = [d for d, times in enumerate(drawn) for _ in range(int(times))]
        slow.append(sum(above[d] for d in chosen) / sum(below[d] for d in chosen))
    slow.sort()
    assert found.value == pytest.approx(above.sum() / below.sum()) and found.cases == below.sum()
    assert found.low == pytest.approx(slow[24]) and found.high == pytest.approx(slow[974])


def test_quantile_is_that_of_each_drawn_set() -> None:
    rng = np.random.default_rng(1)
    documents = rng.integers(0, 6, 40).tolist()
    values = [float(value) if value < 9 else np.inf for value in rng.integers(0, 11, 40)]
    drawn_BD = draws(6)
    for part in (0.1, 0.5, 0.9):
        found = quantile(values, documents, part, drawn_BD)
        whole = np.quantile(values, part, method="inverted_cdf")
        assert found.value == (whole if np.isfinite(whole) else None)
        slow = []
        for drawn in drawn_BD:
            many = [v for v, d in zip(values, documents, strict=True) for _ in range(int(drawn[d]))]
            slow.append(np.quantile(many, part, method="inverted_cdf"))
        low, high = np.quantile(slow, (0.025, 0.975), method="inverted_cdf")
        if found.value is not None:
            assert found.low == low and found.high == (high if np.isfinite(high) else None)


def test_no_interval_from_one_document_and_no_value_from_none() -> None:
    one = ratio(np.array([3.0, 0.0]), np.array([4.0, 0.0]), draws(2))
    assert (one.value, one.low, one.high, one.cases) == (0.75, None, None, 4)
    none = ratio(np.zeros(2), np.zeros(2), draws(2))
    assert (none.value, none.low, none.high, none.cases) == (None, None, None, 0)
    assert quantile([], [], 0.5, draws(2)).value is None
    assert measure(np.inf, np.zeros(3), 3, 3).value is None


def test_all_of_a_few_is_no_certainty() -> None:
    """Every draw of nothing but ones is one. Of 5 documents alike: the chance of it is 0.025 at 0.478."""
    found = share(np.full(5, 2.0), np.full(5, 2.0), draws(5))
    assert found.value == found.high == 1.0 and found.low == pytest.approx(0.025 ** (1 / 5))
    found = share(np.zeros(5), np.full(5, 2.0), draws(5))
    assert found.value == found.low == 0.0 and found.high == pytest.approx(1 - 0.025 ** (1 / 5))


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    """Documents differ: in each another share is taken, around 0.5. 40 documents of 4 cases, 200 times."""
    rng, held, drawn_BD = np.random.default_rng(2), 0, draws(40)
    for _ in range(200):
        taken = rng.binomial(4, rng.uniform(0.2, 0.8, 40)).astype(float)
        found = share(taken, np.full(40, 4.0), drawn_BD)
        held += found.low <= 0.5 <= found.high
    assert 0.90 <= held / 200 <= 0.99
