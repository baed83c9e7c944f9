"""Things grouped by how alike they are, where some are known to be different."""

from __future__ import annotations

import numpy as np

from corpus.schemas.arrays import BoolArray, Float64Array

FAR = 3.0
"""The distance that an apart pair counts in an average: beyond that of any two vectors."""


def unit(vectors: Float64Array) -> Float64Array:
    """The rows divided by their lengths; a row of zeros stays so."""
    norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
    made: Float64Array = vectors / np.where(norms > 0, norms, 1.0)
    return made


def group(
    distances: Float64Array, apart: BoolArray, limit: float, *, at_least: int = 1, at_most: int | None = None
) -> list[list[int]]:
    """The things in groups, closest joined first by the average distance over their pairs (UPGMA).

    No group holds a pair that is `apart`, unless there would be more groups than `at_most`. Joining ends
    at the distance `limit`, sooner where fewer than `at_least` would be left. Groups are ordered by their
    first thing, things within by number. Memory grows with the square of their number, time with the cube
    at worst: callers keep it to some hundreds.
    """
    count = len(distances)
    groups = {place: [place] for place in range(count)}
    average = np.where(apart, FAR, distances).astype(np.float64)
    np.fill_diagonal(average, np.inf)
    barred = apart.copy()
    sizes = np.ones(count)
    while len(groups) > at_least:
        open_pairs = np.where(barred, np.inf, average)
        nearest = int(open_pairs.argmin())
        if open_pairs.flat[nearest] > limit:
            if at_most is None or len(groups) <= at_most:
                break
            if not np.isfinite(open_pairs.flat[nearest]):
                nearest = int(average.argmin())
        keep, give = sorted((nearest // count, nearest % count))
        joined = (average[keep] * sizes[keep] + average[give] * sizes[give]) / (sizes[keep] + sizes[give])
        average[keep], average[:, keep] = joined, joined
        barred[keep] |= barred[give]
        barred[:, keep] = barred[keep]
        average[keep, keep] = np.inf
        average[give], average[:, give] = np.inf, np.inf
        barred[give], barred[:, give] = False, False
        sizes[keep] += sizes[give]
        groups[keep] = sorted(groups[keep] + groups.pop(give))
    return [groups[place] for place in sorted(groups)]
