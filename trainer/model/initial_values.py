"""First values of parameters: each number is a function of (seed, parameter's name, place in the parameter).

It does not depend on the order of parameters, the number of ranks, or how a parameter is cut among them. A
rank fills only the part it holds, so a model that fits on no single machine can start on many. Between kinds
of devices, values differ at most in the last bit of a logarithm.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Iterator, Sequence

import torch
from torch.distributed.tensor import DTensor, Replicate, Shard
from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

from corpus.trainer.config import ModelConfig
from corpus.trainer.data import noise

INIT_STD = 0.02
_CHUNK_CPU = 1 << 17
"""Elements drawn at once; as many as fit into a CPU's cache."""
_CHUNK_GPU = 1 << 22
"""On a GPU enough to hide kernel launches. Drawing takes five 32-bit words an element."""


def deviation(name: str, config: ModelConfig) -> float | None:
    """Standard deviation of a parameter's first values; None for norms, which start as ones.

    0.02, and 0.02 / sqrt(2 layers) for matrices that write into the residual stream. A flow starts with
    velocity 0, a bias with 0.
    """
    owner, last = name.split(".")[0], name.rsplit(".", 1)[-1]
    if "norm" in name and last == "weight":
        return None
    if ".low." in name and last == "up":
        return 0.0  # LoRA starts as the model it is added to
    if owner == "blocks" and last in ("out", "down"):
        return INIT_STD / math.sqrt(2 * config.layers)
    if name == "cue_head.bias":
        return 0.0
    if owner == "audio_head" and config.audio_head == "flow":
        return 0.0 if last in ("adapt", "out") else INIT_STD
    return INIT_STD


def key_of(name: str) -> int:
    """A parameter's name as 64 bits."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")


@torch.no_grad()
def fill(parameter: torch.Tensor, *, seed: int, name: str, config: ModelConfig) -> None:
    """Set this rank's part of a parameter: elements are `deviation * noise.normal(seed, name, place)`."""
    part, shape, offset = held(parameter)
    scale = deviation(name, config)
    if not scale:
        part.fill_(1.0 if scale is None else 0.0)
        return
    flat, key = part.view(-1), key_of(name)
    most = _CHUNK_GPU if part.is_cuda else _CHUNK_CPU
    # Number elements by their place in the whole parameter, so that any cut draws the same values.
    for here, there, count in _runs(parameter.shape, shape, offset):
        for start, stop in _chunks(there, there + count, most):
            drawn = torch.empty(stop - start, dtype=torch.float32, device=part.device)
            noise.normal_run(drawn, seed, key, first=start)
            flat[here + start - there : here + stop - there] = drawn.mul_(scale)


def held(parameter: torch.Tensor) -> tuple[torch.Tensor, Sequence[int], Sequence[int]]:
    """This rank's part of a parameter, its shape, and the indices at which it begins in the parameter."""
    if not isinstance(parameter, DTensor):
        return parameter.detach(), parameter.shape, (0,) * parameter.ndim
    places = parameter.placements
    assert all(type(place) in (Shard, Replicate) for place in places), f"one box a rank, not {places}"
    shape, offset = compute_local_shape_and_global_offset(parameter.shape, parameter.device_mesh, places)
    part = parameter.to_local()
    assert tuple(part.shape) == tuple(shape)
    return part, shape, offset


def _runs(
    whole: Sequence[int], shape: Sequence[int], offset: Sequence[int]
) -> Iterator[tuple[int, int, int]]:
    """Contiguous runs of a box in a row-major tensor: (first in the box, first in the whole, length)."""
    if math.prod(shape) == 0:
        return
    # All dimensions after `cut` are whole, so every index of those before it is one run.
    cut = max((dim for dim in range(len(whole)) if shape[dim] != whole[dim]), default=0)
    inner = math.prod(whole[cut + 1 :])
    for number, index in enumerate(itertools.product(*map(range, shape[:cut]))):
        row = 0
        for dim, place in enumerate(index):
            row = row * whole[dim] + offset[dim] + place
        first = (row * whole[cut] + offset[cut]) * inner
        yield number * shape[cut] * inner, first, shape[cut] * inner


def _chunks(start: int, stop: int, most: int) -> Iterator[tuple[int, int]]:
    """[start, stop) in pieces of bounded length, none across a multiple of 2**32 (see `normal_run`)."""
    while start < stop:
        end = min(stop, start + most, (start >> 32) + 1 << 32)
        yield start, end
        start = end
