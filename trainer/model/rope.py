"""Rotary positions with three coordinates: time, row and column.

# B batch rows, L positions, H heads, C head dimensions

Of the C/2 pairs of a head, half rotate with time (25 ms a step), a quarter with the row, a quarter with the
column. Pair i consists of dimensions i and i + C/2. Angles are fp32 products of integer coordinates, whatever
the precision of the model: in bf16, positions beyond 256 would coincide.

With `model.rope=whole` all pairs rotate with time, at the speeds of a language model's single coordinate. A
patch adds its row to the time of every fourth pair and its column to that of another fourth. So text is
rotated as in pretraining, and patches of one picture still differ.
"""

from __future__ import annotations

from typing import Literal

import torch

from corpus.trainer.data.sequence import Stream
from corpus.trainer.model.batch_invariant import pointwise

Rope = Literal["split", "whole"]


def places(
    rope: Rope, time_BL: torch.Tensor, row_BL: torch.Tensor, column_BL: torch.Tensor, stream_BL: torch.Tensor
) -> torch.Tensor:
    """The three integers (3, B, L) that positions are turned by."""
    found_3BL = torch.stack([coordinate.int() for coordinate in (time_BL, row_BL, column_BL)])
    if rope == "whole":
        # Only patches need more than their time, which already tells slots of text and sound apart.
        found_3BL[1:] *= stream_BL == Stream.PICTURE
        found_3BL[1:] += found_3BL[:1]
    return found_3BL


def turns(
    place_3BL: torch.Tensor, head_dim: int, theta: float, rope: Rope = "split"
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosine and signed sine (B, L, 1, C) in fp32 for `rotate`, from the integers of `places`.

    Made in every layer from the integers, because wrappers that cast a layer's inputs cast only floats.
    """
    pairs = head_dim // 2
    place_3BL1 = place_3BL.float()[..., None]
    if rope == "whole":
        speed = _speeds(pairs, theta, place_3BL.device)
        # Pair by pair: time, row, time, column.
        angle = torch.stack([place_3BL1[which] * speed[k::4] for k, which in enumerate((0, 1, 0, 2))], -1)
        angle = angle.flatten(-2)[:, :, None]
    else:
        counts = (pairs // 2, pairs // 4, pairs // 4)
        parts = [
            place_BL1 * _speeds(count, theta, place_3BL.device)
            for place_BL1, count in zip(place_3BL1, counts, strict=True)
        ]
        angle = torch.cat(parts, -1)[:, :, None]
    cos, sin = pointwise(torch.cos, angle), pointwise(torch.sin, angle)
    return torch.cat((cos, cos), -1), torch.cat((-sin, sin), -1)


def _speeds(count: int, theta: float, device: torch.device) -> torch.Tensor:
    """Radians per step, from 1 down to nearly 1 / theta."""
    exponent = torch.arange(count, dtype=torch.float64, device=device) / count
    return (theta**-exponent).float()


def rotate(x_BLHC: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotate the pairs of every head; the fp32 factors widen half precision, so it is rotated in fp32."""
    # The other dimension of every pair; the sine's signs make it a rotation.
    other = x_BLHC.roll(x_BLHC.shape[-1] // 2, -1)
    return torch.addcmul(x_BLHC * cos, other, sin).to(x_BLHC.dtype)
