"""Ranks: one process, or as many as torchrun started, as a mesh: replicas x data x expert parallel.

    rank = (replica x data ranks + data rank) x expert_parallel + expert rank

Parameters are cut over all ranks of a replica (FSDP2), attention, feed-forward and experts as units of their
own; with expert parallelism a rank holds only its experts, which are cut over the data ranks alone. Losses
are sums over global denominators, so gradients are added over ranks, never averaged.

A model begins on the meta device, is cut there, and only then gets memory: no rank ever holds it whole.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import Shard

from corpus.schemas.errors import SettingsError, UsageError
from corpus.trainer.collectives import Group, expect_same, together
from corpus.trainer.compile import compile_methods
from corpus.trainer.config import RunConfig
from corpus.trainer.memory import check_memory
from corpus.trainer.model import Block, InteractionModel, LossSums
from corpus.trainer.moe import MixtureOfExperts
from corpus.trainer.overrides import settings_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranks:
    """Where this process stands among all."""

    rank: int = 0
    world: int = 1
    device: torch.device
    mesh: DeviceMesh | None = None
    """("replica", "data", "expert"); None in a single process."""
    flat: DeviceMesh | None = None
    """The same ranks, those of a replica in one row: ("replica", "all")."""
    files: Group = None
    """A gloo group of all ranks for what goes on beside training: writing and choosing checkpoints."""
    host: Group = None
    """Another, for numbers and errors on the host; nothing else is ever on its way in it."""

    @property
    def first(self) -> bool:
        return self.rank == 0


def world_size() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


@contextmanager
def joined(config: RunConfig) -> Iterator[Ranks]:
    """Join the ranks torchrun started; alone where it started none.

    Raises: SettingsError when experts, rows and ranks do not fit together, or ranks have other settings;
    UsageError without a GPU. The same on all ranks.
    """
    world = world_size()
    if world == 1:
        check_mesh(config, world)
        yield Ranks(device=_device(config))
        return
    gpus = config.device != "cpu" and torch.cuda.is_available()
    dist.init_process_group("cpu:gloo,cuda:nccl" if gpus else "gloo")
    try:
        host = dist.new_group(backend="gloo")
        expect_same(host, settings_of(config))
        together(host, lambda: check_mesh(config, world))
        device = together(host, lambda: _device(config))
        expect_same(host, {"device": device.type})
        yield ranks_of(config, device, files=dist.new_group(backend="gloo"), host=host)
    finally:
        dist.destroy_process_group()


def ranks_of(config: RunConfig, device: torch.device, *, files: Group = None, host: Group = None) -> Ranks:
    """This process's place among those that have joined."""
    world, copies, share = dist.get_world_size(), config.replicas, config.expert_parallel
    row = world // copies
    return Ranks(
        rank=dist.get_rank(),
        world=world,
        device=device,
        mesh=init_device_mesh(
            device.type, (copies, row // share, share), mesh_dim_names=("replica", "data", "expert")
        ),
        flat=init_device_mesh(device.type, (copies, row), mesh_dim_names=("replica", "all")),
        files=files,
        host=host,
    )


def _device(config: RunConfig) -> torch.device:
    wanted = config.device
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    if wanted == "cpu":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise UsageError("no GPU here", where="device=cuda", todo="use device=cpu, or check the driver")
    number, count = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if number >= count:
        what = f"process {number + 1} of this machine finds {count} GPUs"
        raise UsageError(what, where="device=cuda", todo=f"start {count} with --nproc-per-node")
    device = torch.device("cuda", number)
    torch.cuda.set_device(device)
    return device


def check_mesh(config: RunConfig, world: int) -> None:
    """What cannot work is said before anything is read."""
    copies, share, model, rows = config.replicas, config.expert_parallel, config.model, config.data.rows
    if world % copies:
        raise SettingsError(
            f"{copies} replicas do not divide {world} ranks",
            where="replicas",
            todo=f"start a multiple of {copies} processes with torchrun, or make it a divisor of {world}",
        )
    if world // copies % share:
        raise SettingsError(
            f"{share} expert parallel ranks do not divide {world // copies} ranks"
            + (" of a replica" if copies > 1 else ""),
            where="expert_parallel",
            todo=f"start a multiple of {copies * share} processes with torchrun, "
            f"or make it a divisor of {world // copies}",
        )
    if model.experts % share:
        raise SettingsError(
            f"{model.experts} experts cannot be shared by {share} ranks",
            where="expert_parallel",
            todo="take a divisor of the number of experts",
        )
    data = world // (copies * share)
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
    """Cut a model made on the meta device over the ranks, give it memory on its device, not set, and compile
    its blocks if asked.

    Raises: SettingsError where training it cannot fit into that memory.
    """
    if config.precision == "bf16":
        model.compute = torch.bfloat16
    model.recompute_in_backward(config.recompute)
    if ranks.mesh is not None and config.expert_parallel > 1:
        model.share_experts(ranks.mesh["expert"])
    if config.compile:
        if ranks.mesh is None:
            model.compile_blocks()
        else:
            _compile_units(model, experts=config.expert_parallel == 1)
    if ranks.mesh is not None:
        _cut(model, config, ranks)
    together(ranks.host, lambda: check_memory(config, model, ranks.world, ranks.device))
    model.to_empty(device=ranks.device)


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
    _make_losses_known()
    dtype = torch.bfloat16 if config.precision == "bf16" else None
    policy = MixedPrecisionPolicy(
        param_dtype=dtype, reduce_dtype=torch.float32 if dtype else None, cast_forward_inputs=False
    )
    units: list[FSDPModule] = []
    several = config.replicas > 1
    # A dimension of one replica would cost an exchange with nobody.
    whole = ranks.flat if several else ranks.flat["all"]
    outside = ranks.mesh["replica", "data"] if several else ranks.mesh["data"]

    def cut(module: torch.nn.Module, mesh: DeviceMesh, **how: Any) -> None:
        units.append(fully_shard(module, mesh=mesh, mp_policy=policy, **how))

    for block in _blocks(model):
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
    """FSDP finds the tensors of a result only inside containers it knows."""
    torch.export.register_dataclass(LossSums, serialized_type_name="corpus.trainer.LossSums")
