"""The distribution of durations: percentiles, and the histogram of floor-transfer offsets."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

_OFFSET_BIN_US = 100_000
_OFFSET_REACH_US = 2_000_000
"""The histogram of offsets runs from minus to plus this; what lies beyond is counted beside it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """The distribution of a set of durations; all 0 if it is empty."""

    count: int = 0
    mean_us: int = 0
    p10_us: int = 0
    median_us: int = 0
    p90_us: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Offsets:
    """Floor-transfer offsets: negative if the next speaker began before the last had ended."""

    spread: Spread
    bin_us: int
    start_us: int
    """Start of the first bin; bin n covers `[start_us + n * bin_us, start_us + (n+1) * bin_us)`."""
    counts: tuple[int, ...]
    below: int
    above: int


def spread(values: npt.NDArray[np.int64]) -> Spread:
    """Mean and percentiles; a percentile is the least value with this share of all at or below it."""
    if not len(values):
        return Spread()
    ordered = np.sort(values)

    def at(percent: int) -> int:
        return int(ordered[-(-len(ordered) * percent // 100) - 1])

    return Spread(
        count=len(ordered),
        mean_us=round(int(ordered.sum()) / len(ordered)),
        p10_us=at(10),
        median_us=at(50),
        p90_us=at(90),
    )


def offsets(values: npt.NDArray[np.int64]) -> Offsets:
    """Floor-transfer offsets and their histogram."""
    ordered = np.sort(values)
    edges = np.arange(-_OFFSET_REACH_US, _OFFSET_REACH_US + _OFFSET_BIN_US, _OFFSET_BIN_US)
    places = np.searchsorted(ordered, edges).tolist()
    return Offsets(
        spread=spread(ordered),
        bin_us=_OFFSET_BIN_US,
        start_us=-_OFFSET_REACH_US,
        counts=tuple(stop - start for start, stop in pairwise(places)),
        below=places[0],
        above=len(ordered) - places[-1],
    )
