"""A function of fixed buffers: called as it is on a CPU, on a GPU recorded once and replayed.

Such a function takes nothing and gives nothing back: it reads tensors that stay where they are, and writes
into tensors that stay where they are. It asks no tensor for its value, and no shape in it depends on one
(tests/trainer/test_incremental.py). A replay starts a thousand kernels with one call instead of a thousand.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch

WARM_UPS = 2
"""Calls before a recording, in which libraries choose their kernels and take their workspaces."""


class Replay:
    """Not to be called from two threads at once: a recording has one set of buffers."""

    def __init__(self, function: Callable[[], None], device: torch.device, pool: Any = None) -> None:
        """`pool` of `torch.cuda.graph_pool_handle()` may be shared by functions that are called in turn:
        their state is in their own buffers, outside the pool.
        """
        self.function = function
        self._device, self._pool = device, pool
        self._graph: torch.cuda.CUDAGraph | None = None

    @torch.no_grad()
    def __call__(self) -> None:
        if self._device.type != "cuda":
            self.function()
            return
        if self._graph is None:
            self._graph = self._recorded()
        self._graph.replay()

    def _recorded(self) -> torch.cuda.CUDAGraph:
        """Nothing runs while it is recorded; the warm-ups do, and do what the replay then does again."""
        with torch.cuda.device(self._device):
            aside = _aside(self._device)
            aside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(aside):
                for _ in range(WARM_UPS):
                    self.function()
            torch.cuda.current_stream().wait_stream(aside)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, self._pool, aside, "thread_local"):
                self.function()
        return graph


@cache
def _aside(device: torch.device) -> torch.cuda.Stream:
    """One of each GPU for all warm-ups and recordings. Left to itself torch records on a stream of whichever
    GPU recorded first, and what runs on another is in no recording; and libraries keep a workspace for every
    stream they met, on a Hopper of 32 MB.
    """
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
