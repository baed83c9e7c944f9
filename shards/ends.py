"""Where shards end. A shard's end depends only on clips near it; one more clip moves one or two ends.

    shard 0 begins          half the target       target      1.5 times the target
    |-----------------------|---------------------|-----------|
                             ^ here one ends: before the clip whose key has the smallest hash

Two sequences of clips that differ in one place have the same ends again within a shard or two, because the
stretches to choose from are then nearly the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from corpus.shards.tar import END


def largest_shard(target_bytes: int) -> int:
    """The most bytes a shard of several clips may have."""
    return target_bytes * 3 // 2


def shard_ends(keys: Sequence[str], sizes: npt.NDArray[np.int64], target_bytes: int) -> list[int]:
    """One past the last clip of every shard, for the clips of one split in order of their keys.

    A clip larger than the largest shard gets its own shard.
    """
    before = np.concatenate([[0], np.cumsum(sizes)])  # bytes of the clips before each clip
    least, most = target_bytes // 2, largest_shard(target_bytes)
    ends: list[int] = []
    start = 0
    while start < len(keys):
        # The end mark counts too, hence `len(END)` less; prefix sums make both limits one search.
        low, high = np.searchsorted(before, before[start] - len(END) + np.array([least, most + 1])).tolist()
        if high > len(keys):  # all that is left fits
            end = len(keys)
        else:
            first, last = max(low, start + 1), max(high - 1, start + 1)
            # From `first` to `last` a shard may end; nowhere, where one clip leaps over that stretch.
            low = min(first, last)
            # A key's hash does not depend on the clips around it, so a change elsewhere keeps the choice.
            draws = [_draw(key) for key in keys[low : last + 1]] + ([b""] if last == len(keys) else [])
            end = low + draws.index(min(draws))
        ends.append(end)
        start = end
    return ends


def _draw(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
