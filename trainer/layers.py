"""Layers all parts share: a norm, a linear map, a gated feed-forward.

Parameters may be wider than the activations (fp32 masters, bf16 compute): they are cast where used.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import nn


def wide(x: torch.Tensor) -> torch.Tensor:
    """At least fp32: where sums and exponentials are taken."""
    return x.float() if x.dtype.itemsize < 4 else x


def linear(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return F.linear(x, weight.to(x.dtype))


def parameter(*shape: int) -> nn.Parameter:
    """Not yet set; `InteractionModel.initialise` does."""
    return nn.Parameter(torch.empty(*shape))


class Table(nn.Module):
    """A constant list, looked up by integers. No parameter, not saved."""

    def __init__(self, values: npt.NDArray[Any]) -> None:
        super().__init__()
        self._source = values
        self.register_buffer("values", torch.from_numpy(values), persistent=False)

    values: torch.Tensor

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        """Move with the model, never change type; and be right after `to_empty`."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.values = torch.from_numpy(np.asarray(self._source)).to(self.values.device)
        return self

    def forward(self, index: torch.Tensor) -> torch.Tensor:
        return self.values[index.long()]


class Norm(nn.Module):
    """Root mean square norm, summed in fp32 or wider."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not torch.is_grad_enabled() and x.dtype == self.weight.dtype:
            return F.rms_norm(x, x.shape[-1:], self.weight, self.eps)  # the same in one kernel
        x32 = wide(x)
        scale = torch.rsqrt(x32.square().mean(-1, keepdim=True) + self.eps)
        return (x32 * scale * self.weight.to(x32.dtype)).to(x.dtype)


class Gated(nn.Module):
    """SwiGLU: down(silu(gate x) * up x); gate and up are one matrix."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.gate_up = parameter(2 * inner, width)
        self.down = parameter(width, inner)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gate, up = linear(x, self.gate_up).chunk(2, -1)
        return linear(F.silu(gate) * up, self.down)
