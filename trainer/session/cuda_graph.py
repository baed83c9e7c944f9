"""A function of fixed buffers: called directly on a CPU, recorded once and replayed on a GPU.

A fast path for the plain call; tests/trainer/session/test_gpu_session.py compares the two. Its gain is not
measured yet.

Such a function has no arguments and no result: it reads and writes tensors that stay in place. It must not
read a tensor's value on the host, and no shape may depend on one (tests/trainer/session/test_incremental.py).
A replay launches a thousand kernels with one call.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch

WARM_UPS = 2
"""Calls before a recording, in which libraries choose their kernels and allocate their workspaces."""


class Replay:
    """Not thread-safe: a recording has one set of buffers."""

    def __init__(self, function: Callable[[], None], device: torch.device, pool: Any = None) -> None:
        """A `pool` from `torch.cuda.graph_pool_handle()` may be shared by functions that are called in turn:
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
        """Record the function. Recording runs nothing; the warm-ups do, and the replay repeats their work."""
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
    """One stream per GPU for all warm-ups and recordings.

    By default torch records on a stream of the GPU that recorded first and misses work on another one.
    Libraries also keep a workspace for each stream, 32 MB on a Hopper GPU.
    """
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
