"""Measures movement between two grey pictures without the camera's own shift, and detects cuts."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from corpus.align.sight.picture import CELL, Grey
from corpus.schemas.arrays import Float32Array
from corpus.schemas.sight import THUMB_COLUMNS, THUMB_ROWS

_ROUNDS = 3
"""Rounds of estimating the picture's shift; each gives less weight to things that move on their own."""
_OUTLIER = 8.0
"""Grey levels of difference at which a pixel counts half."""
_BORDER = 2
"""Pixels at each side that are ignored."""
_TOLERANT = 0.5
"""A difference at a slope counts less if it amounts to more than this many pixels of shift."""
_EDGES = 1.0
"""Share of a shift's effect that may remain at an edge that is sharper than pixels."""
_CUT_NOISE = 8.0
"""Squared grey levels below which a difference is noise."""
_SINGULAR = 1e-6
"""Share of the largest entry that is added to the diagonal, since a picture without slopes has no shift."""

# Maps a pixel's row and column to its part of the thumb in two products, cheaper than a mean over two axes.
_TO_ROWS: Grey = (np.repeat(np.eye(THUMB_ROWS), CELL, axis=1) / CELL).astype(np.float32)
_TO_COLUMNS: Grey = (np.repeat(np.eye(THUMB_COLUMNS), CELL, axis=0) / CELL).astype(np.float32)


def thumb(grey: Grey) -> npt.NDArray[np.uint8]:
    """Brightness of the picture's parts."""
    return np.rint(_cells(grey)).astype(np.uint8)


def motion(before: Grey, after: Grey) -> float:
    """Grey levels by which the most changed part differs, above the change of the whole picture."""
    rest, left_of_shift = _without_shift(before, after)
    parts = _cells(np.abs(rest))
    middle = float(np.median(parts))
    return max(0.0, float((parts - _EDGES * _cells(left_of_shift)).max()) - 2.0 * middle)


def cut(before: Grey, after: Grey) -> float:
    """How different the pictures are, in [0, 1]: 0 for equal, about 1 for unrelated ones."""
    first, second = (_pooled(grey).ravel() for grey in (before, after))
    means = float(first.mean()), float(second.mean())
    difference = _mean_square(second - first)
    variances = [
        _mean_square(each - np.float32(mean)) for each, mean in zip((first, second), means, strict=True)
    ]
    apart = sum(variances) + (means[0] - means[1]) ** 2
    return min(1.0, max(0.0, difference - _CUT_NOISE) / (apart + _CUT_NOISE))


def _without_shift(before: Grey, after: Grey) -> tuple[Grey, Grey]:
    """The difference without the whole picture's shift and change of brightness, and the shift's effect.

    Brightness constancy to first order: after - before = dx * slope_x + dy * slope_y + light, solved by
    iteratively reweighted least squares.
    """
    mean: Grey = _smooth(((before + after) / 2).astype(np.float32))
    slope_x, slope_y = np.zeros_like(mean), np.zeros_like(mean)
    slope_x[:, 1:-1] = (mean[:, 2:] - mean[:, :-2]) / 2
    slope_y[1:-1] = (mean[2:] - mean[:-2]) / 2
    target = _smooth(after - before).ravel()
    basis = np.stack((slope_x.ravel(), slope_y.ravel(), np.ones(mean.size, np.float32)))
    # A shift changes steep slopes most, so a difference there is not necessarily an outlier.
    tolerance = _OUTLIER + _TOLERANT * np.sqrt(basis[0] ** 2 + basis[1] ** 2)
    rest, weighted = target, basis
    solution = np.zeros(3, np.float32)
    for number in range(_ROUNDS):
        if number:
            weighted = basis / (1 + (rest / tolerance) ** 2)
        solution = _solved(weighted @ basis.T, weighted @ target)
        rest = target - solution @ basis
    left = rest.reshape(mean.shape)
    # At the border, a moving camera brings in new things.
    left[:_BORDER], left[-_BORDER:] = 0, 0
    left[:, :_BORDER], left[:, -_BORDER:] = 0, 0
    by_shift = np.abs(solution[0] * slope_x) + np.abs(solution[1] * slope_y)
    return left, by_shift


def _smooth(grey: Grey) -> Grey:
    """A binomial blur, which makes edges soft enough to be described by a slope."""
    wide = np.empty((grey.shape[0] + 2, grey.shape[1] + 2), np.float32)
    wide[1:-1, 1:-1] = grey
    wide[0, 1:-1], wide[-1, 1:-1] = grey[0], grey[-1]
    wide[:, 0], wide[:, -1] = wide[:, 1], wide[:, -2]
    rows = wide[:-2] + 2 * wide[1:-1] + wide[2:]
    smooth: Grey = (rows[:, :-2] + 2 * rows[:, 1:-1] + rows[:, 2:]) / 16
    return smooth


def _solved(products: Float32Array, against: Float32Array) -> Float32Array:
    """The least-squares shift and light."""
    square = products.astype(np.float64)
    square[np.diag_indices(3)] += _SINGULAR * square.max()
    return np.linalg.solve(square, against.astype(np.float64)).astype(np.float32)


def _mean_square(values: Float32Array) -> float:
    return float(values @ values) / values.size


def _cells(grey: Grey) -> Grey:
    cells: Grey = (_TO_ROWS @ grey @ _TO_COLUMNS).astype(np.float32, copy=False)
    return cells


def _pooled(grey: Grey) -> Grey:
    sums: Grey = grey[::2, ::2] + grey[1::2, ::2] + grey[::2, 1::2] + grey[1::2, 1::2]
    return sums * np.float32(0.25)
