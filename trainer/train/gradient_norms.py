"""Sizes of gradients and updates, for all parameters and for groups of them; clipping.

Each rank sums the squares of its own part; the root is taken after adding up over ranks.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import nn
from torch.distributed.tensor import DTensor, Replicate

from corpus.trainer.train.optim import local_part

GROUPS = ("experts", "router", "embeddings")


def group_of(name: str) -> str | None:
    """The group of a parameter, by its name. A tied text head counts as an embedding."""
    if ".experts." in name:
        return "experts"
    if name.endswith("router.weight"):
        return "router"
    return "embeddings" if name.startswith("embed.") else None


@torch.no_grad()
def squares(parameters: Iterable[nn.Parameter]) -> torch.Tensor:
    """Sum of squares of this rank's gradients, each divided by the number of ranks that hold it; fp64, 0-D.

    The sum over ranks is then the square of the global norm, whatever mesh each parameter is on.
    """
    held = [p.grad for p in parameters if p.grad is not None and local_part(p.grad).numel()]
    # One fused call for all parameters: separate norms would launch hundreds of kernels.
    norms = torch.stack(torch._foreach_norm([local_part(grad) for grad in held]))
    copies = torch.tensor([_copies(grad) for grad in held], dtype=torch.float64, device=norms.device)
    return (norms.double().square() / copies).sum()


def _copies(tensor: torch.Tensor) -> int:
    """The number of ranks that hold the same part of a tensor."""
    if not isinstance(tensor, DTensor):
        return 1
    mesh, places = tensor.device_mesh, tensor.placements
    return math.prod(mesh.size(dim) for dim, place in enumerate(places) if place == Replicate())


@torch.no_grad()
def scale_gradients(parameters: Iterable[nn.Parameter], factor: float) -> None:
    torch._foreach_mul_([local_part(p.grad) for p in parameters if p.grad is not None], factor)


@torch.no_grad()
def gradient_squares(named: Sequence[tuple[str, nn.Parameter]]) -> torch.Tensor:
    """(groups,): sums of squares of the current gradients."""
    sums = []
    for group in GROUPS:
        own = [p for name, p in named if group_of(name) == group and p.grad is not None and p.grad.numel()]
        held = any(local_part(p).numel() for p in own)
        sums.append(squares(own).cpu() if held else torch.zeros((), dtype=torch.float64))
    return torch.stack(sums)


WATCHED = 1 << 20
"""At most this many evenly spaced entries of a parameter are compared: a whole copy might not fit."""


class Movement:
    """How far parameters move in a step, relative to their size; estimated for large ones."""

    @torch.no_grad()
    def __init__(self, named: Iterable[tuple[str, nn.Parameter]]) -> None:
        parts = {name: local_part(p) for name, p in named}
        self._parts = {name: part for name, part in parts.items() if part.numel()}
        self._before = [_watched(part).clone() for part in self._parts.values()]

    @torch.no_grad()
    def squares(self) -> torch.Tensor:
        """(2, 1 + groups): sums of squares of the update, and of the parameters before it."""
        sizes = self._by_group(torch._foreach_norm(self._before))
        steps = torch._foreach_sub(self._before, [_watched(part) for part in self._parts.values()])
        return torch.stack((self._by_group(torch._foreach_norm(steps)), sizes)).cpu()

    def _by_group(self, norms: Sequence[torch.Tensor]) -> torch.Tensor:
        groups = [group_of(name) for name in self._parts]
        square = torch.stack(list(norms)).double().square()
        whole = [part.numel() for part in self._parts.values()]
        shares = [n / len(own) for n, own in zip(whole, self._before, strict=True)]
        # Scale the sampled sums up to the whole parameter.
        square *= torch.tensor(shares, dtype=torch.float64, device=square.device)
        parts = [square[[n for n, g in enumerate(groups) if g == group]].sum() for group in GROUPS]
        return torch.stack((square.sum(), *parts))


def _watched(part: torch.Tensor) -> torch.Tensor:
    # A fixed stride: the same entries before and after the step.
    return part.reshape(-1)[:: -(-part.numel() // WATCHED)]
