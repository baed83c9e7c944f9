"""Ranks: one process, or as many as torchrun started, as a mesh of data parallel x expert parallel.

    rank = data rank x expert_parallel + expert rank

Parameters are cut over all ranks (FSDP2), attention, feed-forward and experts as units of their own;
with expert parallelism a rank holds only its experts, which are cut over the data ranks alone. Losses
are sums over global denominators, so gradients are added over ranks, never averaged.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import Shard

from corpus.schemas.errors import SettingsError, UsageError
from corpus.trainer.compile import compile_methods
from corpus.trainer.config import RunConfig
from corpus.trainer.model import Block, InteractionModel, LossSums
from corpus.trainer.moe import MixtureOfExperts


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranks:
    """Where this process stands among all."""

    rank: int = 0
    world: int = 1
    device: torch.device
    mesh: DeviceMesh | None = None
    """2-D, ("data", "expert"); None in a single process."""
    flat: DeviceMesh | None = None
    """The same ranks in one row."""
    files: dist.ProcessGroup | None = None
    """A gloo group of all ranks for what goes on beside training: writing and choosing checkpoints."""

    @property
    def first(self) -> bool:
        return self.rank == 0


def world_size() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


@contextmanager
def joined(config: RunConfig) -> Iterator[Ranks]:
    """Join the ranks torchrun started; alone where it started none.

    Raises: SettingsError when experts, rows and ranks do not fit together; UsageError without a GPU.
    """
    world = world_size()
    check_mesh(config, world)
    device = _device(config)
    if world == 1:
        yield Ranks(device=device)
        return
    dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    try:
        shape = (world // config.expert_parallel, config.expert_parallel)
        yield Ranks(
            rank=dist.get_rank(),
            world=world,
            device=device,
            mesh=init_device_mesh(device.type, shape, mesh_dim_names=("data", "expert")),
            flat=init_device_mesh(device.type, (world,), mesh_dim_names=("all",)),
            files=dist.new_group(backend="gloo"),
        )
    finally:
        dist.destroy_process_group()


def _device(config: RunConfig) -> torch.device:
    wanted = config.device
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    if wanted == "cpu":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise UsageError("no GPU here", where="device=cuda", todo="use device=cpu, or check the driver")
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    torch.cuda.set_device(device)
    return device


def check_mesh(config: RunConfig, world: int) -> None:
    """What cannot work is said before anything is read."""
    share, model, rows = config.expert_parallel, config.model, config.data.rows
    if world % share:
        raise SettingsError(
            f"{share} expert parallel ranks do not divide {world} ranks",
            where="expert_parallel",
            todo=f"start a multiple of {share} processes with torchrun, or make it a divisor of {world}",
        )
    if model.experts % share:
        raise SettingsError(
            f"{model.experts} experts cannot be shared by {share} ranks",
            where="expert_parallel",
            todo="take a divisor of the number of experts",
        )
    data = world // share
    if share > 1 and (model.width % data or 2 * model.expert_width % data):
        raise SettingsError(
            f"expert matrices of {2 * model.expert_width} and {model.width} rows cannot be cut into {data}",
            where="expert_parallel",
            todo="take a number of data ranks that divides both",
        )
    if rows % (world * config.accumulate):
        raise SettingsError(
            f"{rows} rows do not divide among {world} ranks times {config.accumulate} accumulation steps",
            where="data.rows",
            todo=f"make it a multiple of {world * config.accumulate}",
        )


def place(model: InteractionModel, config: RunConfig, ranks: Ranks) -> None:
    """Move a model to its device, cut it over the ranks, and compile its blocks if asked."""
    if config.precision == "bf16":
        model.compute = torch.bfloat16
    model.recompute_in_backward(config.recompute)
    if ranks.mesh is None:
        model.to(ranks.device)
        if config.compile:
            model.compile_blocks()
        return
    if config.expert_parallel > 1:
        model.share_experts(ranks.mesh["expert"])
    if config.compile:
        _compile_units(model, experts=config.expert_parallel == 1)
    _cut(model, config, ranks)


def _compile_units(model: InteractionModel, *, experts: bool) -> None:
    """Under FSDP only what lies between its hooks is compiled. Sharing experts sends sizes to the host,
    which no whole graph can."""
    if model.compute != torch.bfloat16:
        raise SettingsError("compile needs bf16", where="compile", todo="set precision=bf16")
    for block in _blocks(model):
        units = (block.attention, block.feed) if experts else (block.attention,)
        for unit in units:
            compile_methods(unit, ("forward",) if model.recompute == "none" else unit.PARTS)


def _blocks(model: InteractionModel) -> list[Block]:
    return [block for block in model.blocks if isinstance(block, Block)]


def _cut(model: InteractionModel, config: RunConfig, ranks: Ranks) -> None:
    assert ranks.mesh is not None and ranks.flat is not None
    # FSDP finds the tensors of a result only inside containers it knows.
    torch.export.register_dataclass(LossSums, serialized_type_name="corpus.trainer.LossSums")
    dtype = torch.bfloat16 if config.precision == "bf16" else None
    policy = MixedPrecisionPolicy(
        param_dtype=dtype, reduce_dtype=torch.float32 if dtype else None, cast_forward_inputs=False
    )
    units: list[FSDPModule] = []

    def cut(module: torch.nn.Module, mesh: DeviceMesh, **how: Any) -> None:
        units.append(fully_shard(module, mesh=mesh, mp_policy=policy, **how))

    for block in _blocks(model):
        cut(block.attention, ranks.flat)
        if config.expert_parallel > 1 and isinstance(block.feed, MixtureOfExperts):
            cut(block.feed.experts, ranks.mesh["data"], shard_placement_fn=lambda _: Shard(1))
        cut(block.feed, ranks.flat)
    cut(model, ranks.flat)
    for unit in units:
        unit.set_gradient_divide_factor(1.0)
        unit.set_force_sum_reduction_for_comms(True)
    model.load_NE = model.load_NE.to(ranks.device)
