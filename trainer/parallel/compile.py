"""Compilation that keeps as little for backward as the hand-written functions do.

A fast path for the eager blocks; tests/trainer/model/test_model.py and test_gpu.py compare the two. Bytes
kept are measured (benchmarks/RESULTS.md, tests/trainer/train/test_memory.py), the time on a GPU is not.

By default the compiler saves everything that backward would have to write to memory again: rows gathered for
the experts, activations, bf16 copies of weights, two to three times as much as an eager layer keeps. Here it
recomputes every gather, cast and pointwise operation. It never repeats a product, attention, a sort or a
choice of experts: anything outside its list of cheap operations is kept.
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
    """Compile every block as a whole. In bf16 only: the compiler refuses `F.grouped_mm` in fp32.

    In blocks that will be `cut` over ranks, only the code between FSDP's hooks is compiled; modules that are
    recomputed in backward are compiled in parts. Without `experts`, feed-forwards stay eager: with expert
    parallelism they send sizes to the host, which a full graph cannot do.
    """
    if model.dtype != torch.bfloat16:
        raise SettingsError("compile needs bf16", where="compile", todo="set precision=bf16")
    for block in blocks_of(model):
        if not cut and model.recompute == "none":
            block.compile(backend=backend, fullgraph=True, dynamic=False)
            continue
        for unit in (block.attention, block.feed) if experts else (block.attention,):
            _compile_methods(unit, ("forward",) if model.recompute == "none" else unit.PARTS)


def backend(graph: fx.GraphModule, inputs: Sequence[Any]) -> Any:
    """Inductor, configured to keep little."""
    import torch._functorch.config as partition
    from torch._inductor.compile_fx import compile_fx

    with partition.patch(
        ban_recompute_used_far_apart=False,
        ban_recompute_long_fusible_chains=False,
        ban_recompute_materialized_backward=False,
    ):
        return compile_fx(graph, inputs)


def _compile_methods(module: torch.nn.Module, names: Sequence[str]) -> None:
    """Replace a module's methods by compiled ones."""
    for name in names:
        setattr(module, name, compiled(getattr(module, name)))


def compiled(function: Called) -> Called:
    """The function as one graph, for fixed shapes."""
    return torch.compile(function, backend=backend, fullgraph=True, dynamic=False)  # type: ignore[return-value]
