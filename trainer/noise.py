"""Random numbers as a function of integers: no state, so no order of calls and no worker changes them.

    bits = mix(seed, step, position, element)

Two rounds of a 32 bit finaliser for each key. The same on every device up to the last bit of the logarithm.
"""

from __future__ import annotations

import math
from typing import Any

import torch

Key = torch.Tensor | int

_MASK = 0xFFFFFFFF
_ODD = 0x9E3779B9


def _scramble(x: Any) -> Any:
    """Chris Wellons' `lowbias32`, on integers or int64 tensors that hold 32 bits."""
    x = x ^ (x >> 16)
    x = (x * 0x7FEB352D) & _MASK
    x = x ^ (x >> 15)
    x = (x * 0x846CA68B) & _MASK
    return x ^ (x >> 16)


def mix(*keys: Key) -> torch.Tensor:
    """32 random bits in int64, of the shape the keys broadcast to; of each key all 64 bits count."""
    state: Any = _ODD
    for key in keys:
        word = key if isinstance(key, int) else key.long()
        state = _scramble((state + _ODD + (word & _MASK)) & _MASK)
        state = _scramble(state ^ ((word >> 32) & _MASK))
    return torch.as_tensor(state)


def uniform(bits: torch.Tensor) -> torch.Tensor:
    """fp32 in the open interval (0, 1), 24 bits deep."""
    return ((bits >> 8).float() + 0.5) * 2.0**-24


def normal(*keys: Key) -> torch.Tensor:
    """Standard normal fp32, by Box and Muller."""
    radius = torch.sqrt(-2 * torch.log(uniform(mix(*keys, 0))))
    return radius * torch.cos(2 * math.pi * uniform(mix(*keys, 1)))
