"""Compilation that keeps for backward as little as the functions written by hand do.

Left to itself the compiler saves whatever backward would have to write to memory again: rows gathered for
the experts, activations, bf16 copies of weights, two to three times what an eager layer keeps. Here it makes
again everything that is a gather, a cast or pointwise. It never repeats a product, attention, a sort or a
choice of experts: what is not in its list of cheap operations is always kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import fx

from corpus.schemas.errors import SettingsError
from corpus.trainer.model.model import InteractionModel, blocks_of

Called = TypeVar("Called", bound=Callable[..., Any])


def compile_blocks(model: InteractionModel, *, cut: bool = False, experts: bool = True) -> None:
    """Compile every block, whole. In bf16 only: the compiler refuses `F.grouped_mm` in fp32.

    Of blocks that are to be `cut` over ranks only what lies between FSDP's hooks is compiled; what is made
    again in backward, in its parts. Without `experts` feed-forwards stay as they are: where ranks share the
    experts they send sizes to the host, which no whole graph can.
    """
    if model.dtype != torch.bfloat16:
        raise SettingsError("compile needs bf16", where="compile", todo="set precision=bf16")
    for block in blocks_of(model):
        if not cut and model.recompute == "none":
            block.compile(backend=backend, fullgraph=True, dynamic=False)
            continue
        for unit in (block.attention, block.feed) if experts else (block.attention,):
            compile_methods(unit, ("forward",) if model.recompute == "none" else unit.PARTS)


def backend(graph: fx.GraphModule, inputs: Sequence[Any]) -> Any:
    """Inductor, told to keep little."""
    import torch._functorch.config as partition
    from torch._inductor.compile_fx import compile_fx

    with partition.patch(
        ban_recompute_used_far_apart=False,
        ban_recompute_long_fusible_chains=False,
        ban_recompute_materialized_backward=False,
    ):
        return compile_fx(graph, inputs)


def compile_methods(module: torch.nn.Module, names: Sequence[str]) -> None:
    """Put compiled ones in the place of a module's methods."""
    for name in names:
        setattr(module, name, compiled(getattr(module, name)))


def compiled(function: Called) -> Called:
    """The function as one graph, for fixed shapes."""
    return torch.compile(function, backend=backend, fullgraph=True, dynamic=False)  # type: ignore[return-value]
