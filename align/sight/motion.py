"""Movement between two grey pictures, the camera's own shift taken off, and whether it is a cut."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from corpus.align.sight.picture import CELL, Grey
from corpus.schemas.sight import THUMB_COLUMNS, THUMB_ROWS

SHIFT_STEPS = 2
"""Rounds of estimating the shift of the whole picture; the second leaves out what moves by itself."""
OUTLIER = 2.5
"""Pixels that differ by more than so many times the middle difference move by themselves."""
CUT_NOISE = 8.0
"""Squared grey levels below which a difference is noise."""


def thumb(grey: Grey) -> npt.NDArray[np.uint8]:
    """Brightness of the picture's parts."""
    return np.rint(_cells(grey)).astype(np.uint8)


def motion(before: Grey, after: Grey) -> float:
    """Grey levels by which the part that changed most did so, above what the picture as a whole did."""
    rest = _without_shift(before, after)
    parts = _cells(np.abs(rest))
    middle = float(np.median(parts))
    return max(0.0, float(parts.max()) - 2.0 * middle)


def cut(before: Grey, after: Grey) -> float:
    """In [0, 1], how little of the picture is left: 0 where it is the same, about 1 where it is another."""
    first, second = (_pooled(grey) for grey in (before, after))
    difference = float(np.mean((second - first) ** 2))
    apart = float(np.var(first) + np.var(second)) + float(first.mean() - second.mean()) ** 2
    return min(1.0, max(0.0, difference - CUT_NOISE) / (apart + CUT_NOISE))


def _without_shift(before: Grey, after: Grey) -> Grey:
    """What is left of the difference when a shift and a change of brightness of the whole are taken off.

    Brightness constancy to the first order: after - before = dx * slope_x + dy * slope_y + light, solved
    by least squares, then once more without what moves by itself.
    """
    mean = (before + after) / 2
    slope_x, slope_y = np.zeros_like(mean), np.zeros_like(mean)
    slope_x[:, 1:-1] = (mean[:, 2:] - mean[:, :-2]) / 2
    slope_y[1:-1] = (mean[2:] - mean[:-2]) / 2
    difference = after - before
    basis = np.stack((slope_x.ravel(), slope_y.ravel(), np.ones(mean.size, np.float32)))
    target = difference.ravel()
    weight = np.ones_like(target)
    rest = target
    for _ in range(SHIFT_STEPS):
        weighted = basis * weight
        solution = np.linalg.lstsq(weighted @ basis.T, weighted @ target, rcond=1e-6)[0]
        rest = target - solution.astype(np.float32) @ basis
        size = np.abs(rest)
        weight = (size <= max(1.0, OUTLIER * float(np.median(size)))).astype(np.float32)
    return rest.reshape(difference.shape)


def _cells(grey: Grey) -> Grey:
    cells: Grey = grey.reshape(THUMB_ROWS, CELL, THUMB_COLUMNS, CELL).mean((1, 3))
    return cells


def _pooled(grey: Grey) -> Grey:
    half: Grey = grey.reshape(grey.shape[0] // 2, 2, grey.shape[1] // 2, 2).mean((1, 3))
    return half
