"""Agglomerative clustering with pairs that must stay separate."""

from __future__ import annotations

import numpy as np

from corpus.schemas.arrays import BoolArray, Float64Array

FAR = 3.0
"""The distance of a separate pair in an average: larger than any cosine distance."""


def unit(vectors: Float64Array) -> Float64Array:
    """The rows divided by their lengths; a row of zeros stays so."""
    norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
    scaled: Float64Array = vectors / np.where(norms > 0, norms, 1.0)
    return scaled


def group(
    distances: Float64Array,
    apart: BoolArray,
    limit: float,
    *,
    at_least: int = 1,
    at_most: int | None = None,
    weights: Float64Array | None = None,
) -> list[list[int]]:
    """Clusters by average linkage (UPGMA), closest joined first; an item counts by its weight, else as one.

    No cluster contains a pair that is `apart`, unless there would be more clusters than `at_most`. Joining
    ends at the distance `limit`, or when `at_least` clusters are left. Clusters are ordered by their first
    item, items by number. Memory grows with the square of the number of items, time at worst with the cube:
    callers limit it to some hundreds.
    """
    count = len(distances)
    groups = {place: [place] for place in range(count)}
    average = np.where(apart, FAR, distances).astype(np.float64)
    np.fill_diagonal(average, np.inf)
    barred = apart.copy()
    sizes = np.ones(count) if weights is None else weights.astype(np.float64)
    while len(groups) > at_least:
        open_pairs = np.where(barred, np.inf, average)
        nearest = int(open_pairs.argmin())
        if open_pairs.flat[nearest] > limit:
            if at_most is None or len(groups) <= at_most:
                break
            if not np.isfinite(open_pairs.flat[nearest]):
                nearest = int(average.argmin())
        keep, give = sorted((nearest // count, nearest % count))
        # The weighted average over all pairs of the joined group follows from the two averages and sizes.
        joined = (average[keep] * sizes[keep] + average[give] * sizes[give]) / (sizes[keep] + sizes[give])
        average[keep], average[:, keep] = joined, joined
        # Who was apart from one of them is apart from both.
        barred[keep] |= barred[give]
        barred[:, keep] = barred[keep]
        average[keep, keep] = np.inf
        average[give], average[:, give] = np.inf, np.inf
        barred[give], barred[:, give] = False, False
        sizes[keep] += sizes[give]
        groups[keep] = sorted(groups[keep] + groups.pop(give))
    return [groups[place] for place in sorted(groups)]
