"""The layers whose backward is written by hand, against autograd through the plain operations."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F

from corpus.trainer.model.layers import Gated, Norm, linear


def plain_linear(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return F.linear(x, weight)


def by_hand_norm(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    norm = Norm(x.shape[-1], 1e-6).to(x.dtype)
    del norm.weight
    norm.weight = weight  # type: ignore[assignment]
    y: torch.Tensor = norm(x)
    return y


def plain_norm(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * weight


def by_hand_gated(x: torch.Tensor, gate_up: torch.Tensor, down: torch.Tensor) -> torch.Tensor:
    gated = Gated(1, 1)
    del gated.gate_up, gated.down
    gated.gate_up, gated.down = gate_up, down  # type: ignore[assignment]
    y: torch.Tensor = gated(x)
    return y


def plain_gated(x: torch.Tensor, gate_up: torch.Tensor, down: torch.Tensor) -> torch.Tensor:
    gate, up = F.linear(x, gate_up).chunk(2, -1)
    return F.linear(F.silu(gate) * up, down)


@pytest.mark.parametrize(
    ("by_hand", "plain", "shapes"),
    [
        (linear, plain_linear, ((2, 3, 5), (4, 5))),
        (by_hand_norm, plain_norm, ((2, 3, 8), (8,))),
        (by_hand_gated, plain_gated, ((2, 3, 5), (14, 5), (5, 7))),
    ],
)
def test_values_and_gradients_are_those_of_autograd(
    by_hand: Callable[..., torch.Tensor],
    plain: Callable[..., torch.Tensor],
    shapes: tuple[tuple[int, ...], ...],
) -> None:
    generator = torch.Generator().manual_seed(1)
    inputs = [torch.randn(shape, dtype=torch.float64, generator=generator) for shape in shapes]
    ours = [each.clone().requires_grad_() for each in inputs]
    theirs = [each.clone().requires_grad_() for each in inputs]
    y, expected = by_hand(*ours), plain(*theirs)
    torch.testing.assert_close(y, expected, rtol=1e-12, atol=1e-12)
    grad = torch.randn(y.shape, dtype=torch.float64, generator=generator)
    y.backward(grad)
    expected.backward(grad)
    for ours_, theirs_ in zip(ours, theirs, strict=True):
        torch.testing.assert_close(ours_.grad, theirs_.grad, rtol=1e-11, atol=1e-12)
    # Without gradients another, shorter path runs: the same values.
    with torch.no_grad():
        torch.testing.assert_close(by_hand(*inputs), expected.detach(), rtol=1e-12, atol=1e-12)
