"""Rotary positions of three coordinates: time, row and column.

# B batch rows, L positions, H heads, C head dimensions

Of the C/2 pairs of a head a half is turned by time (25 ms a step), a quarter by row, a quarter by column.
Pair i is dimensions i and i + C/2. Angles are fp32 products of integer coordinates, whatever the model's
precision: in bf16, positions beyond 256 would coincide.
"""

from __future__ import annotations

import torch


def turns(place_3BL: torch.Tensor, head_dim: int, theta: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosine and signed sine (B, L, 1, C) in fp32 for `rotate`, of integers (time, row, column).

    Made in every layer from the integers: wrappers that cast what goes into a layer cast only floats.
    """
    pairs = head_dim // 2
    counts = (pairs // 2, pairs // 4, pairs // 4)
    parts = [
        place_BL.float()[..., None] * _speeds(count, theta, place_BL.device)
        for place_BL, count in zip(place_3BL, counts, strict=True)
    ]
    angle = torch.cat(parts, -1)[:, :, None]
    cos, sin = angle.cos(), angle.sin()
    return torch.cat((cos, cos), -1), torch.cat((-sin, sin), -1)


def _speeds(count: int, theta: float, device: torch.device) -> torch.Tensor:
    """Radians a step, from 1 down to nearly 1 / theta."""
    exponent = torch.arange(count, dtype=torch.float64, device=device) / count
    return (theta**-exponent).float()


def rotate(x_BLHC: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Turn the pairs of every head; half precision is turned in fp32, to which factors of fp32 widen it."""
    # The other dimension of every pair; the sine's signs make it a rotation.
    other = x_BLHC.roll(x_BLHC.shape[-1] // 2, -1)
    return torch.addcmul(x_BLHC * cos, other, sin).to(x_BLHC.dtype)
