"""Ranks: one process, or all that torchrun started, as a mesh of replicas x data x expert parallel.

rank = (replica x data ranks + data rank) x expert_parallel + expert rank
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from corpus.schemas.errors import SettingsError, UsageError
from corpus.trainer.config import RunConfig
from corpus.trainer.data.pack import check_rows
from corpus.trainer.parallel.collectives import Group, expect_same, together
from corpus.trainer.parallel.device import device_named


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranks:
    """This process's place among all of them."""

    rank: int = 0
    world: int = 1
    device: torch.device
    mesh: DeviceMesh | None = None
    """("replica", "data", "expert"); None in a single process."""
    flat: DeviceMesh | None = None
    """The same ranks with those of a replica in one dimension: ("replica", "all")."""
    files: Group = None
    """A gloo group of all ranks for background work: writing and choosing checkpoints."""
    host: Group = None
    """Another one, for numbers and errors on the host; it carries nothing else."""

    @property
    def first(self) -> bool:
        return self.rank == 0


def world_size() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


@contextmanager
def joined(config: RunConfig) -> Iterator[Ranks]:
    """Join the ranks that torchrun started; without torchrun there is only this one.

    Raises: SettingsError when experts, rows and ranks do not fit together, or the ranks' settings differ;
    UsageError without a GPU. All ranks raise the same error.
    """
    world = world_size()
    if world == 1:
        check_mesh(config, world)
        yield Ranks(device=_device(config))
        return
    gpus = config.device != "cpu" and torch.cuda.is_available()
    timeout = timedelta(minutes=config.timeout_minutes)
    # Name this rank's GPU, or NCCL guesses it from the rank's number over all machines.
    number = int(os.environ.get("LOCAL_RANK", "0"))
    own = torch.device("cuda", number) if gpus and number < torch.cuda.device_count() else None
    backend = "cpu:gloo,cuda:nccl" if gpus else "gloo"
    dist.init_process_group(backend, timeout=timeout, device_id=own)
    try:
        from corpus.trainer.overrides import settings_of

        host = dist.new_group(backend="gloo", timeout=timeout)
        expect_same(host, settings_of(config))
        together(host, lambda: check_mesh(config, world))
        device = together(host, lambda: _device(config))
        expect_same(host, {"device": device.type})
        yield ranks_of(config, device, files=dist.new_group(backend="gloo", timeout=timeout), host=host)
    finally:
        dist.destroy_process_group()


def check_mesh(config: RunConfig, world: int) -> None:
    """Refuse a mesh that cannot work, before anything is read. Raises: SettingsError."""
    copies, share, model = config.replicas, config.expert_parallel, config.model
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
    check_rows(config, world)


def ranks_of(config: RunConfig, device: torch.device, *, files: Group = None, host: Group = None) -> Ranks:
    """This process's place among the ranks that have joined."""
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
    """This rank's device; each process of a machine takes its own GPU."""
    device = device_named(config.device)
    if device.type != "cuda":
        return device
    number, count = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if number >= count:
        what = f"process {number + 1} of this machine finds {count} GPUs"
        raise UsageError(what, where="device=cuda", todo=f"start {count} with --nproc-per-node")
    device = torch.device("cuda", number)
    torch.cuda.set_device(device)
    return device
