"""Random numbers as a function of integers: stateless, so independent of call order and workers.

    bits = mix(seed, step, position, element)

Two rounds of a 32-bit finaliser for each key. Equal on every device up to the last bit of the logarithm.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

Key = torch.Tensor | int

_MASK = 0xFFFFFFFF
_ODD = 0x9E3779B9
_BELOW_1 = 1 - 2.0**-24
"""The largest fp32 below 1: the middle of the last of 2**24 parts would round to 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseKey:
    """Identifies a training step; with the position it decides all randomness of a loss."""

    seed: int = 0
    step: int = 0


def _scramble(x: Any) -> Any:
    """Chris Wellons' `lowbias32`, on integers, or int64 arrays or tensors, that hold 32 bits."""
    x = x ^ (x >> 16)
    x = (x * 0x7FEB352D) & _MASK
    x = x ^ (x >> 15)
    x = (x * 0x846CA68B) & _MASK
    return x ^ (x >> 16)


def _signed(word: int) -> int:
    """The int32 of the same 32 bits."""
    return (word & _MASK ^ 0x80000000) - 0x80000000


def _scramble_(x: torch.Tensor, spare: torch.Tensor) -> torch.Tensor:
    """`_scramble` of an int32 tensor in place: products wrap, and sign bits are masked off shifts."""
    for shift, factor in ((16, _signed(0x7FEB352D)), (15, _signed(0x846CA68B)), (16, 1)):
        torch.bitwise_right_shift(x, shift, out=spare)
        x.bitwise_xor_(spare.bitwise_and_((1 << 32 - shift) - 1))
        if factor != 1:
            x.mul_(factor)
    return x


def mix(*keys: Key) -> torch.Tensor:
    """32 random bits as int64, in the keys' broadcast shape; all 64 bits of each key count."""
    return torch.as_tensor(_mixed([key if isinstance(key, int) else key.long() for key in keys]))


def words(*keys: npt.NDArray[np.int64] | int) -> npt.NDArray[np.int64]:
    """`mix` in numpy: the same bits."""
    return np.asarray(_mixed(keys), np.int64)


def _mixed(keys: Iterable[Any]) -> Any:
    state: Any = _ODD
    for word in keys:
        # The lower, then the upper half of each key; the odd constant keeps zero from staying zero.
        state = _scramble((state + _ODD + (word & _MASK)) & _MASK)
        state = _scramble(state ^ ((word >> 32) & _MASK))
    return state


def uniform(bits: torch.Tensor) -> torch.Tensor:
    """fp32 in the open interval (0, 1), 24 bits deep."""
    return (((bits >> 8).float() + 0.5) * 2.0**-24).clamp_max(_BELOW_1)


def normal(*keys: Key) -> torch.Tensor:
    """Standard normal fp32, by the Box-Muller transform."""
    radius = torch.sqrt(-2 * torch.log(uniform(mix(*keys, 0))))
    return radius * torch.cos(2 * math.pi * uniform(mix(*keys, 1)))


def normal_run(out: torch.Tensor, *keys: int, first: int) -> torch.Tensor:
    """Fill a row of fp32 with the same numbers as `normal(*keys, first), normal(*keys, first + 1), ...`.

    Faster: it works in int32 and in place, and does the rounds that both Box-Muller uniforms share only once.
    """
    assert first >> 32 == first + len(out) - 1 >> 32, "a run keeps within 2**32 elements"
    low = int(mix(*keys)) + _ODD + (first & _MASK)
    count = torch.arange(len(out), dtype=torch.int32, device=out.device)
    spare = torch.empty_like(count)
    shared = _scramble_(count.add_(_signed(low)), spare)
    shared = _scramble_(shared.bitwise_xor_(_signed(first >> 32)), spare)
    last = torch.empty_like(count)

    def uniform_(into: torch.Tensor, key: int) -> torch.Tensor:
        torch.add(shared, _signed(_ODD + key), out=last)
        bits = _scramble_(_scramble_(last, spare), spare)
        bits.bitwise_right_shift_(8).bitwise_and_((1 << 24) - 1)
        return into.copy_(bits).add_(0.5).mul_(2.0**-24).clamp_max_(_BELOW_1)

    radius = uniform_(out, 0).log_().mul_(-2).sqrt_()
    angle = uniform_(torch.empty_like(out), 1).mul_(2 * math.pi)
    return radius.mul_(angle.cos_())
