"""Stretches of windows in which a flag holds."""

from __future__ import annotations

import numpy as np

from corpus.schemas.arrays import BoolArray

Run = tuple[int, int]
"""Windows `[start, stop)`."""


def runs(speaks_W: BoolArray) -> list[Run]:
    """Stretches of True, half-open."""
    edge = np.diff(np.concatenate(([0], np.asarray(speaks_W, np.int8), [0])))
    return [
        (int(a), int(b)) for a, b in zip(np.flatnonzero(edge == 1), np.flatnonzero(edge == -1), strict=True)
    ]
