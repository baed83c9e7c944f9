"""What ranks tell each other: sums, and errors that all raise alike, so that one can speak for all.

Ranks walk in step: one that leaves alone leaves the others in an exchange that never ends. So what may go
wrong on one of them, a lock, a disk, a dataset, is done in `together`; and what nobody can announce, that a
process was killed, `no_rank_lost` tells from the broken connection.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from corpus.schemas.errors import CorpusError, SettingsError

T = TypeVar("T")
Group = dist.ProcessGroup | None
"""None in a single process."""


def together(group: Group, work: Callable[[], T]) -> T:
    """What `work` gives, once it has gone well on all ranks. It must not wait for other ranks itself.

    Raises: the error of the first rank that had one, on every rank.
    """
    if group is None:
        return work()
    try:
        result, own = work(), None
    except CorpusError as error:
        own = error
    first = next((error for error in _gathered(group, own) if error is not None), None)
    if first is not None:
        raise first
    return result


def summed_or_raised(group: Group, values: torch.Tensor, error: CorpusError | None) -> torch.Tensor:
    """The sum over ranks of numbers on the host; costs one small exchange where no rank has an error.

    Raises: the error of the first rank that has one, on every rank.
    """
    both = torch.cat((values, values.new_tensor([error is not None])))
    if group is not None:
        dist.all_reduce(both, group=group)
    if both[-1]:
        together(group, lambda: _raise(error))
    return both[:-1]


def on_any(group: Group, value: bool) -> bool:
    """Whether it holds on one of the ranks."""
    if group is None:
        return value
    flag = torch.tensor([int(value)])
    dist.all_reduce(flag, group=group)
    return bool(flag.item())


def summed(values: torch.Tensor) -> torch.Tensor:
    """Over all ranks, in place, where training's tensors are."""
    if dist.is_initialized():
        dist.all_reduce(values)
    return values


def greatest(value: int) -> int:
    """Of all ranks."""
    most = torch.tensor(value)
    if dist.is_initialized():
        dist.all_reduce(most, dist.ReduceOp.MAX)
    return int(most)


def expect_same(group: Group, settings: Mapping[str, object]) -> None:
    """Raises: SettingsError when ranks were given different values."""
    if group is None:
        return
    for rank, theirs in enumerate(everyone := _gathered(group, dict(settings))):
        differ = [name for name, value in everyone[0].items() if theirs[name] != value]
        if differ:
            name = differ[0]
            what = f"is {theirs[name]} on rank {rank} but {everyone[0][name]} on rank 0"
            more = f" ({len(differ) - 1} more settings differ)" if differ[1:] else ""
            raise SettingsError(what + more, where=name, todo="start all ranks with the same")


@contextmanager
def no_rank_lost(world: int) -> Iterator[None]:
    """Raises: CorpusError in place of what a broken connection to another rank raises."""
    try:
        yield
    except RuntimeError as error:
        if world == 1 or not (isinstance(error, dist.DistError) or "gloo" in str(error)):
            raise
        todo = "see above or in its log what ended it; the same command resumes from the last checkpoint"
        raise CorpusError("another process of this run has ended", where="torchrun", todo=todo) from error


def _gathered(group: dist.ProcessGroup, value: T) -> list[T]:
    values: list[Any] = [None] * dist.get_world_size(group)
    dist.all_gather_object(values, value, group=group)
    return values


def _raise(error: CorpusError | None) -> None:
    if error is not None:
        raise error
