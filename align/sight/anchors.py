"""The anchors of a single-shot detector: centres from which its boxes are offsets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


def anchors(side: int, grids: Sequence[tuple[int, int]]) -> npt.NDArray[np.float32]:
    """Centres (x, y) as fractions of a square input of `side` pixels, in the order of the detector's rows.

    `grids` are pairs of stride in pixels and anchors per cell. A grid runs row by row; all anchors of a cell
    share its centre.
    """
    parts = []
    for stride, per_cell in grids:
        cells = -(-side // stride)
        centres = (np.arange(cells, dtype=np.float32) + np.float32(0.5)) / cells
        y, x = np.meshgrid(centres, centres, indexing="ij")
        parts.append(np.repeat(np.stack((x.ravel(), y.ravel()), axis=1), per_cell, axis=0))
    return np.concatenate(parts)
