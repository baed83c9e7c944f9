"""Exchanges between ranks: sums, and errors, which all ranks raise alike.

Ranks work in step: if one stops alone, the others wait in an exchange that never ends. So work that can fail
on a single rank (a lock, a disk, a dataset) is done in `together`. A killed process cannot announce itself;
`no_rank_lost` recognises it by the broken connection.
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
    """The result of `work`, once it has succeeded on all ranks. `work` itself must not wait for other ranks.

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
    """The sum over ranks of numbers on the host; costs one small exchange if no rank has an error.

    Raises: the error of the first rank that has one, on every rank.
    """
    both = torch.cat((values, values.new_tensor([error is not None])))
    if group is not None:
        dist.all_reduce(both, group=group)
    if both[-1]:
        together(group, lambda: _raise(error))
    return both[:-1]


def on_any(group: Group, value: bool) -> bool:
    """Whether the value is true on at least one rank."""
    if group is None:
        return value
    flag = torch.tensor([int(value)])
    dist.all_reduce(flag, group=group)
    return bool(flag.item())


def summed(values: torch.Tensor) -> torch.Tensor:
    """The sum over all ranks, in place, on the device of training."""
    if dist.is_initialized():
        dist.all_reduce(values)
    return values


def greatest(value: int) -> int:
    """The greatest value on any rank."""
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
    """Raises: CorpusError in place of the error of a broken connection to another rank."""
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
