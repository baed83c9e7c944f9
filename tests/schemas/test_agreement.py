from __future__ import annotations

import random

import pytest

from corpus.schemas.agreement import agreement, alpha, kappa, wilson
from corpus.schemas.conversation import Cue
from corpus.schemas.review import Draw, Judged, Review, Verdict
from corpus.schemas.votes import groups


def test_kappa_of_a_worked_example() -> None:
    """Cohen 1960: 20 yes-yes, 5 yes-no, 10 no-yes, 15 no-no: 0.7 seen, 0.5 by chance."""
    pairs = [("y", "y")] * 20 + [("y", "n")] * 5 + [("n", "y")] * 10 + [("n", "n")] * 15
    assert kappa(pairs) == pytest.approx(0.4)


def test_kappa_is_not_defined_where_all_say_one_thing() -> None:
    assert kappa([("y", "y")] * 5) is None and kappa([]) is None


@pytest.mark.parametrize("seed", range(20))
def test_alpha_is_that_of_the_krippendorff_package(seed: int) -> None:
    import krippendorff
    import numpy as np

    rng = random.Random(seed)
    coders, items, values = rng.randint(2, 5), rng.randint(5, 60), rng.randint(2, 4)
    table = np.full((coders, items), np.nan)
    for item in range(items):
        truth = rng.randrange(values)
        for coder in range(coders):
            if rng.random() < 0.7:
                table[coder, item] = truth if rng.random() < 0.7 else rng.randrange(values)
    units = [
        {str(c): int(table[c, i]) for c in range(coders) if not np.isnan(table[c, i])} for i in range(items)
    ]
    expected = krippendorff.alpha(reliability_data=table, level_of_measurement="nominal")
    assert alpha(units) == pytest.approx(expected, abs=1e-12)


def test_wilsons_interval_of_a_known_case() -> None:
    low, high = wilson(8, 10)
    assert (low, high) == (pytest.approx(0.4902, abs=1e-4), pytest.approx(0.9433, abs=1e-4))
    assert wilson(0, 0) == (0.0, 1.0)


def reviewed(
    number: int,
    who: str,
    verdict: Verdict,
    *,
    moved_ms: int = 0,
    draw: Draw = "uncertain",
    label: str = "hold",
) -> Review:
    start_us = 10_000_000 * number

    def cue(by_us: int) -> Judged:
        made = Cue(
            label=label, kind="", speaker="S1", start_us=start_us + by_us, stop_us=start_us + 500_000 + by_us,
            confidence=0.5, origin="hold/1",
        )  # fmt: skip
        return Judged(cue=made)

    return Review(
        id=f"{number}{who}", sequence=number, recording="r", item=f"c{number}", verdict=verdict, draw=draw,
        judged=None if verdict == "add" else cue(0), becomes=(cue(moved_ms * 1000),) if moved_ms else (),
        annotator=who, decided_at_us=1,
    )  # fmt: skip


def test_boundaries_are_compared_where_both_find_it() -> None:
    rows = [reviewed(1, "ann", "accept"), reviewed(1, "bob", "correct", moved_ms=60)]
    rows += [reviewed(2, "ann", "accept"), reviewed(2, "bob", "reject")]
    report = agreement(groups(rows, ()))
    (label,) = report.labels
    assert label.boundaries.ends == 2 and label.boundaries.median_ms == 60
    assert label.boundaries.within == (0.0, 1.0, 1.0)
    assert (report.doubly, report.disputed, label.agree) == (2, 1, 0.5)


def test_precision_counts_only_random_draws_where_there_are_any() -> None:
    rows = [reviewed(n, "ann", "accept", draw="random") for n in range(8)]
    rows += [reviewed(n, "ann", "reject", draw="random") for n in range(8, 10)]
    rows += [reviewed(n, "ann", "reject") for n in range(10, 30)]
    rows += [reviewed(n, "ann", "add", moved_ms=1) for n in range(30, 34)]
    (quality,) = agreement(groups(rows, ())).quality
    assert (quality.judged, quality.right, quality.sampled) == (10, 8, True)
    assert quality.precision == pytest.approx(0.8)
    assert (quality.added, quality.recall) == (4, pytest.approx(8 / 12))


def test_a_labeler_whose_labels_are_rejected_is_pointed_out() -> None:
    rows = [reviewed(n, "ann", "reject") for n in range(9)] + [reviewed(9, "ann", "accept")]
    assert agreement(groups(rows, ())).quality[0].doubtful
