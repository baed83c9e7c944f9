"""Join arrays that lie one after another in memory, without copying."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from corpus.schemas.arrays import UInt8Array


class _Run(NamedTuple):
    """Bytes `[start, stop)` of a larger array."""

    whole: UInt8Array
    """Flat."""
    start: int
    stop: int


def in_a_row(parts: Sequence[UInt8Array]) -> _Run | None:
    """The memory of arrays that each begin where the previous one ends; None if they must be copied."""
    whole = parts[0].base if parts else None
    if not isinstance(whole, np.ndarray) or not whole.flags.c_contiguous or whole.dtype != np.uint8:
        return None
    at = start = parts[0].ctypes.data - whole.ctypes.data
    for part in parts:
        if (
            part.base is not whole
            or not part.flags.c_contiguous
            or part.ctypes.data - whole.ctypes.data != at
        ):
            return None
        at += part.nbytes
    return _Run(whole.reshape(-1), start, at)
