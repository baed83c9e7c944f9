"""The order of documents: a permutation that can be evaluated at any place without being stored.

Four rounds of a Feistel network over the smallest square power of two that holds all documents; a value
outside is encrypted again until it falls inside (cycle walking), which keeps it a permutation.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

_ROUNDS = 4


@dataclass(frozen=True, slots=True)
class Shuffle:
    """A pseudo-random permutation of `range(count)`, a function of seed and epoch."""

    count: int
    seed: int
    epoch: int
    _half_bits: int = field(init=False, repr=False)
    _keys: tuple[bytes, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"nothing to order: {self.count = }")
        half_bits = max(1, ((self.count - 1).bit_length() + 1) // 2)
        keys = tuple(f"{self.seed}/{self.epoch}/{number}".encode() for number in range(_ROUNDS))
        object.__setattr__(self, "_half_bits", half_bits)
        object.__setattr__(self, "_keys", keys)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, place: int) -> int:
        if not 0 <= place < self.count:
            raise IndexError(f"place {place} of {self.count}")
        value = self._shuffled(place)
        while value >= self.count:
            value = self._shuffled(value)
        return value

    def _shuffled(self, value: int) -> int:
        mask = (1 << self._half_bits) - 1
        left, right = value >> self._half_bits, value & mask
        for key in self._keys:
            # A keyed hash as the round function: the same permutation on every machine and Python version.
            mixed = hashlib.blake2b(right.to_bytes(8, "little"), digest_size=8, key=key[:64])
            left, right = right, left ^ (int.from_bytes(mixed.digest(), "little") & mask)
        return left << self._half_bits | right
