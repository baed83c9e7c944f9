"""Prepares a model for training: precision, recomputation, shared experts, compiled blocks, sharding.

Parameters are sharded over all ranks of a replica (FSDP2), with attention, feed-forward and experts as
separate units. With expert parallelism a rank holds only its own experts, which are sharded over the data
ranks alone. Losses are sums over global denominators, so gradients are added over ranks, never averaged.

A model begins on the meta device, is sharded there, and only then gets memory: no rank ever holds all of it.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import Shard

from corpus.trainer.config import Recompute, RunConfig
from corpus.trainer.model.attention import Attention
from corpus.trainer.model.experts import Experts
from corpus.trainer.model.loss_sums import LossSums
from corpus.trainer.model.low_rank import is_trained
from corpus.trainer.model.model import InteractionModel, blocks_of
from corpus.trainer.model.moe import Dense, MixtureOfExperts
from corpus.trainer.parallel.ranks import Ranks


def prepare(model: InteractionModel, config: RunConfig, ranks: Ranks) -> None:
    """Shard a model made on the meta device over the ranks, and compile its blocks if the run asks for it.

    The model still has no memory afterwards; `model.to_empty(device=ranks.device)` allocates it once it is
    known to fit.
    """
    if config.precision == "bf16":
        model.compute = torch.bfloat16
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(is_trained(name, config.model))
    recompute_in_backward(model, config.recompute)
    if ranks.mesh is not None and config.expert_parallel > 1:
        _share_experts(model, ranks.mesh["expert"])
    if config.compile:
        from corpus.trainer.parallel.compile import compile_blocks

        compile_blocks(model, cut=ranks.mesh is not None, experts=config.expert_parallel == 1)
    if ranks.mesh is not None:
        _cut(model, config, ranks)


def recompute_in_backward(model: InteractionModel, what: Recompute) -> None:
    """Compute attention and feed-forward of every block again in backward, but not the routers.

    Call it before compiling, because modules that are computed again are compiled in parts.
    """
    model.recompute = what
    for module in model.modules():
        if isinstance(module, Experts):
            module.recompute = what
        elif isinstance(module, (Attention, Dense, MixtureOfExperts)):
            module.recompute = what != "none"


def _share_experts(model: InteractionModel, mesh: DeviceMesh) -> None:
    """Divide the experts over a 1-D mesh; every rank keeps its part."""
    for module in model.modules():
        if isinstance(module, Experts):
            module.share(mesh)


def _cut(model: InteractionModel, config: RunConfig, ranks: Ranks) -> None:
    assert ranks.mesh is not None and ranks.flat is not None
    _make_losses_known()
    dtype = torch.bfloat16 if config.precision == "bf16" else None
    policy = MixedPrecisionPolicy(
        param_dtype=dtype, reduce_dtype=torch.float32 if dtype else None, cast_forward_inputs=False
    )
    units: list[FSDPModule] = []
    several = config.replicas > 1
    # With one replica, that dimension would only cost an exchange with itself.
    whole = ranks.flat if several else ranks.flat["all"]
    outside = ranks.mesh["replica", "data"] if several else ranks.mesh["data"]

    def cut(module: torch.nn.Module, mesh: DeviceMesh, **how: Any) -> None:
        units.append(fully_shard(module, mesh=mesh, mp_policy=policy, **how))

    for block in blocks_of(model):
        cut(block.attention, whole)
        if config.expert_parallel > 1 and isinstance(block.feed, MixtureOfExperts):
            cut(block.feed.experts, outside, shard_placement_fn=lambda _: Shard(1))
        cut(block.feed, whole)
    cut(model, whole)
    for unit in units:
        unit.set_gradient_divide_factor(1.0)
        unit.set_force_sum_reduction_for_comms(True)


@cache
def _make_losses_known() -> None:
    """Register our results with pytree: FSDP finds tensors only inside containers that it knows."""
    torch.export.register_dataclass(LossSums, serialized_type_name="corpus.trainer.LossSums")
