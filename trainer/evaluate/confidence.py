"""How far a figure would move with other documents of the same kind: bootstrap intervals.

As many documents as there are get drawn with replacement, 1000 times, and the figure is computed for each
draw; the interval holds the middle 95 %. Documents are the unit because cases of one conversation depend on
each other. Two views of one clip count as two, so intervals are too narrow, if anything. The draws depend
only on the number of documents (a counter-based generator with a fixed key): same cases, same interval.

Shape suffixes: B draws, D documents, V values, U different values, X rows of counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from corpus.schemas.arrays import Float64Array

DRAWS = 1000
KEY = 20_260_101
COVERED = (0.025, 0.975)
LEAST_DRAWS = 0.95
"""An interval is given only if this share of the draws contains a case."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """A figure, its 95 % interval, and its number of cases.

    It has no value without a case, and no interval if fewer than two documents or too few draws have one.
    """

    value: float | None
    low: float | None
    high: float | None
    cases: int


def draws(documents: int) -> Float64Array:
    """How often each document is in each draw, `[B, D]`."""
    generator = np.random.Generator(np.random.Philox(key=KEY))
    drawn_BD = generator.integers(0, max(1, documents), (DRAWS, documents))
    return np.stack([np.bincount(row, minlength=documents) for row in drawn_BD]).astype(np.float64)


def share(above_D: Float64Array, below_D: Float64Array, drawn_BD: Float64Array) -> Measure:
    """The share of cases of a kind. If it is 0 or 1, draws tell nothing; the interval is then that of Clopper
    and Pearson over documents, which treats the cases of a document as one.
    """
    measure = ratio(above_D, below_D, drawn_BD)
    documents = int((below_D > 0).sum())
    if measure.value not in (0.0, 1.0) or measure.low is None:
        return measure
    reach = 1 - COVERED[0] ** (1 / documents)
    low, high = (1 - reach, 1.0) if measure.value else (0.0, reach)
    return Measure(value=measure.value, low=low, high=high, cases=measure.cases)


def ratio(
    above_D: Float64Array, below_D: Float64Array, drawn_BD: Float64Array, *, cases: int | None = None
) -> Measure:
    """The ratio of two sums; `cases` is given if the lower sum is not their number."""
    below = float(below_D.sum())
    value = float(above_D.sum()) / below if below > 0 else None
    under_B = drawn_BD @ below_D
    over_B = np.divide(drawn_BD @ above_D, under_B, out=np.full(len(drawn_BD), np.nan), where=under_B > 0)
    return measure(value, over_B, int((below_D > 0).sum()), round(below) if cases is None else cases)


def quantile(
    values: Sequence[float], documents: Sequence[int], part: float, drawn_BD: Float64Array
) -> Measure:
    """The smallest value that at least the given share of all values does not exceed."""
    found_U, counts_DU = counted(values, documents, drawn_BD.shape[1])
    if not len(found_U):
        return measure(None, np.zeros(0), 0, 0)

    def of(counts_XU: Float64Array) -> Float64Array:
        reached_XU = counts_XU.cumsum(1)
        # Counts are whole: the slack only takes up rounding.
        place_X = (reached_XU < part * reached_XU[:, -1:] - 1e-9).sum(1)
        return np.where(reached_XU[:, -1] > 0, found_U[place_X.clip(max=len(found_U) - 1)], np.nan)

    value = float(of(counts_DU.sum(0, keepdims=True))[0])
    return measure(value, of(drawn_BD @ counts_DU), len(set(documents)), len(values))


def counted(
    values: Sequence[float], documents: Sequence[int], among: int
) -> tuple[Float64Array, Float64Array]:
    """The different values in rising order, and how often each document has each of them, `[D, U]`."""
    found_U, place_V = np.unique(np.array(values, np.float64), return_inverse=True)
    counts_DU = np.zeros((among, len(found_U)))
    np.add.at(counts_DU, (np.array(documents, np.int64), place_V.reshape(-1)), 1)
    return found_U, counts_DU


def measure(value: float | None, found_B: Float64Array, documents: int, cases: int) -> Measure:
    """A figure with its interval, from its value in each draw (NaN if it has none there).

    Infinite values are left out; they arise as the median of cases most of which have no value.
    """
    if value is None or not np.isfinite(value):
        return Measure(value=None, low=None, high=None, cases=cases)
    known_B = found_B[~np.isnan(found_B)]
    if documents < 2 or len(known_B) < LEAST_DRAWS * len(found_B):
        return Measure(value=value, low=None, high=None, cases=cases)
    low, high = np.quantile(known_B, COVERED, method="inverted_cdf")
    return Measure(value=value, low=_finite(low), high=_finite(high), cases=cases)


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
