"""The blocks' matrices in the precision of activations, cast once a step instead of twice a micro-batch.

A fast path for casting a matrix where it is used (layers.py); tests/trainer/parallel/test_compute_copies.py
compares the two bit for bit. The gain below is calculated, not measured on a GPU.

    masters in fp32 --cast--> copies --forward, backward--> a copy's gradient --added at once--> a master's

A cast reads and writes six bytes per parameter, once in forward and once in backward. Adding a gradient moves
eighteen bytes if it is widened first, ten if it is added as it is. For `base` this saves 50 GB a micro-batch.
Rounding does not change: products and their gradients are in bf16 either way, sums in fp32.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

import torch
from torch import nn
from torch.distributed.tensor import DTensor

from corpus.trainer.model.model import InteractionModel


class _Copy(NamedTuple):
    module: nn.Module
    name: str
    master: nn.Parameter
    copy: nn.Parameter


def is_copied(name: str, parameter: torch.Tensor) -> bool:
    """Whether a parameter is a block's matrix, judged by its name. Routers are not: they compute in fp32."""
    return name.startswith("blocks.") and ".router." not in name and parameter.ndim > 1


def copied(model: InteractionModel) -> Iterator[tuple[nn.Module, str, nn.Parameter]]:
    """Parameters that are wider than activations and not sharded (FSDP casts those), with module and name."""
    for name, master in list(model.named_parameters()):
        if is_copied(name, master) and master.dtype != model.dtype and not isinstance(master, DTensor):
            parent, _, own = name.rpartition(".")
            yield model.get_submodule(parent), own, master


class ComputeCopies:
    """Copies of a model's matrices; none if nothing is cast. The masters must already be on their device."""

    def __init__(self, model: InteractionModel) -> None:
        self._copies = []
        for module, name, master in copied(model):
            copy = nn.Parameter(torch.empty_like(master, dtype=model.dtype))
            copy.register_post_accumulate_grad_hook(partial(_hand_over, master))  # type: ignore[no-untyped-call]
            self._copies.append(_Copy(module, name, master, copy))

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Inside the `with` block the model computes with copies of its current parameters, and only the
        masters get gradients. The parameters must not change meanwhile."""
        if self._copies:
            with torch.no_grad():
                torch._foreach_copy_([c.copy for c in self._copies], [c.master for c in self._copies])
        try:
            for module, name, _, copy in self._copies:
                module.register_parameter(name, copy)
            yield
        finally:
            for module, name, master, _ in self._copies:
                module.register_parameter(name, master)


def _hand_over(master: nn.Parameter, copy: torch.Tensor) -> None:
    assert copy.grad is not None
    if master.grad is None:
        master.grad = copy.grad.to(master.dtype)
    else:
        master.grad += copy.grad
    # Freed at once: otherwise a second set of gradients would live until the end of the step.
    copy.grad = None
