"""Layers that all parts use: a norm, a linear map, a gated feed-forward.

Parameters may be wider than the activations (fp32 masters, bf16 compute): they are cast where they are used,
and cast again in backward. This includes norms and routers, although their sums are in fp32: ranks exchange a
sharded model in bf16, and a single process must compute the same.

Backward is written by hand where autograd would keep casts, or results that a pointwise pass can make again.
Without gradients the plain operations run; tests/trainer/model/test_layers.py compares the two. Bytes kept
are measured (benchmarks/RESULTS.md), the time on a GPU is not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from corpus.trainer.model.batch_invariant import each_linear, is_batch_invariant, pointwise


def wide(x: torch.Tensor) -> torch.Tensor:
    """x in fp32 or wider, for sums and exponentials."""
    return x.float() if x.dtype.itemsize < 4 else x


class _Linear(torch.autograd.Function):
    """Keeps x and the weight as given, not their casts."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        ctx.save_for_backward(x, weight)
        return F.linear(x.to(dtype), weight.to(dtype))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> Any:
        x, weight = ctx.saved_tensors
        d_x = (grad @ weight.to(grad.dtype)).to(x.dtype) if ctx.needs_input_grad[0] else None
        d_weight = _outer(grad, x).to(weight.dtype) if ctx.needs_input_grad[1] else None
        return d_x, d_weight, None


def _outer(grad: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Gradient of the weight of a linear map of x, in the type of `grad`."""
    return grad.flatten(0, -2).T @ x.to(grad.dtype).flatten(0, -2)


def linear(x: torch.Tensor, weight: torch.Tensor, dtype: torch.dtype | None = None) -> torch.Tensor:
    """x @ weight.T, computed in `dtype`, or in the type of x."""
    dtype = dtype or x.dtype
    if not torch.is_grad_enabled():  # A Function costs microseconds, and a step of a session has hundreds.
        if is_batch_invariant():
            return each_linear(x.to(dtype), weight.to(dtype))
        return F.linear(x.to(dtype), weight.to(dtype))
    y: torch.Tensor = _Linear.apply(x, weight, dtype)  # type: ignore[no-untyped-call]
    return y


def recomputed(function: Callable[..., Any], *inputs: Any) -> Any:
    """Run a function now and again in backward, keeping only its inputs. It must not draw random numbers."""
    if not torch.is_grad_enabled():
        return function(*inputs)
    return checkpoint(function, *inputs, use_reentrant=False, preserve_rng_state=False)


def parameter(*shape: int) -> nn.Parameter:
    """A parameter without values; `InteractionModel` sets them."""
    return nn.Parameter(torch.empty(*shape))


class Table(nn.Module):
    """A constant table indexed by integers; neither a parameter nor saved."""

    def __init__(self, values: npt.NDArray[Any]) -> None:
        super().__init__()
        self._source = values
        self.register_buffer("values", torch.from_numpy(values), persistent=False)

    values: torch.Tensor

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        """Move with the model without changing type, and restore the values after `to_empty`."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.values = torch.from_numpy(np.asarray(self._source)).to(self.values.device)
        return self

    def forward(self, index: torch.Tensor) -> torch.Tensor:
        return self.values[index.long()]


def _normed(x: torch.Tensor, weight: torch.Tensor, eps: float) -> tuple[torch.Tensor, torch.Tensor]:
    x32 = wide(x)
    scale = torch.rsqrt(x32.square().mean(-1, keepdim=True) + eps)
    return (x32 * scale * weight.to(x.dtype).to(x32.dtype)).to(x.dtype), scale


class _Norm(torch.autograd.Function):
    """Keeps x and one scale per vector; nothing of the size of x in fp32."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
        y, scale = _normed(x, weight, eps)
        ctx.save_for_backward(x, weight, scale)
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> Any:
        x, weight, scale = ctx.saved_tensors
        grad32, unit = wide(grad), wide(x) * scale
        d_unit = grad32 * weight.to(x.dtype).to(scale.dtype)
        # The norm removes the part of the gradient along x itself.
        d_x = scale * (d_unit - unit * (d_unit * unit).mean(-1, keepdim=True))
        d_weight = (grad32 * unit).flatten(0, -2).sum(0)
        return d_x.to(x.dtype), d_weight.to(x.dtype).to(weight.dtype), None


class Norm(nn.Module):
    """Root mean square norm, summed in fp32 or wider."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not torch.is_grad_enabled():
            if x.dtype == self.weight.dtype:
                return F.rms_norm(x, x.shape[-1:], self.weight, self.eps)  # the same in one kernel
            return _normed(x, self.weight, self.eps)[0]
        y: torch.Tensor = _Norm.apply(x, self.weight, self.eps)  # type: ignore[no-untyped-call]
        return y


def swiglu(both: torch.Tensor) -> torch.Tensor:
    """silu(gate) * up of gate and up side by side."""
    gate, up = both.chunk(2, -1)
    return pointwise(F.silu, gate) * up


def swiglu_backward(grad: torch.Tensor, both: torch.Tensor) -> torch.Tensor:
    gate, up = both.chunk(2, -1)
    # torch's own kernel: exact where sigmoid saturates.
    d_gate = torch.ops.aten.silu_backward(grad * up, gate)
    return torch.cat((d_gate, grad * F.silu(gate)), -1)


class _Gated(torch.autograd.Function):
    """Keeps x, and gate and up from before the activation."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, gate_up: torch.Tensor, down: torch.Tensor) -> torch.Tensor:
        both = F.linear(x, gate_up.to(x.dtype))
        ctx.save_for_backward(x, gate_up, down, both)
        return F.linear(swiglu(both), down.to(x.dtype))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> Any:
        x, gate_up, down, both = ctx.saved_tensors
        d_down = _outer(grad, swiglu(both)).to(down.dtype)
        d_both = swiglu_backward(grad @ down.to(grad.dtype), both)
        return d_both @ gate_up.to(grad.dtype), _outer(d_both, x).to(gate_up.dtype), d_down


class Gated(nn.Module):
    """SwiGLU: down(silu(gate x) * up x); gate and up are one matrix."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.gate_up = parameter(2 * inner, width)
        self.down = parameter(width, inner)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not torch.is_grad_enabled():
            return linear(swiglu(linear(x, self.gate_up)), self.down)
        y: torch.Tensor = _Gated.apply(x, self.gate_up, self.down)  # type: ignore[no-untyped-call]
        return y
