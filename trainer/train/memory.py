"""Calculates the bytes that training needs on one GPU; tests/trainer/train/test_memory.py measures them.

    state         parameters, gradients and moments in fp32, and copies of matrices, from step to step
    activations   what each position of a micro-batch keeps from forward to backward
    working       temporary: the peak of a backward pass, and the text head's table

The optimiser steps after activations are freed. Muon needs a few times the largest packed experts or
`optim.TOGETHER` entries in fp32, whatever the number of layers: less than the activations took.

# D width, H heads, G key heads, C head dimensions, E experts, K of them a token, F inner width
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch

from corpus.schemas.errors import SettingsError
from corpus.trainer.config import ModelConfig, RunConfig
from corpus.trainer.model.cross_entropy import CHUNK_LOGITS
from corpus.trainer.parallel.compute_copies import is_copied
from corpus.trainer.train.optim import local_part, uses_muon

SOUND_TARGETS = 4 / 9
"""The largest share of positions that predict sound; every batch allocates it."""
TEXT_TARGETS = 1 / 2
"""The largest share of positions that predict text or control."""
HEARD_TARGETS = 4 / 5
"""The largest share of positions that hold heard sound."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Footprint:
    """Bytes on one GPU."""

    state: float
    activations: float
    working: float

    @property
    def total(self) -> float:
        return self.state + self.activations + self.working


def _bytes(config: RunConfig) -> int:
    return 2 if config.precision == "bf16" else 4


def _attention_bytes(config: RunConfig) -> float:
    """Bytes that one layer's attention keeps per position: x; queries and keys before norm and rotation, and
    after them if not compiled; values; the result; in fp32 the norms' scales, log-sum-exps and angles."""
    model, size = config.model, _bytes(config)
    queries, keys = model.heads * model.head_dim, model.kv_heads * model.head_dim
    kept = size * (model.width + 2 * queries + 2 * keys)
    scales = 4 * (1 + 2 * model.heads + model.kv_heads)
    # Compiled, queries and keys are rotated again in backward; eager keeps both forms.
    if config.compile:
        return kept + scales + 6 * model.head_dim
    return kept + scales + 4 * model.head_dim + size * (model.width + queries + keys)


def _feed_bytes(config: RunConfig, *, dense: bool) -> float:
    """Bytes that one layer's feed-forward keeps per position: x, and gate and up of the experts it visits; if
    not compiled also the normed x. With expert parallelism, the received rows, as many as are sent."""
    model, size = config.model, _bytes(config)
    normed = 0 if config.compile and config.expert_parallel == 1 else size * model.width
    if dense:
        return size * (model.width + 2 * model.dense_width) + 4 + normed
    # A position visits top_k experts and the shared one: as wide as their sum.
    inner = model.top_k * model.expert_width + model.shared_width
    kept = size * (model.width + 2 * inner) + 4 + normed + _router_bytes(model)
    return kept + (_received_bytes(config) if config.expert_parallel > 1 else 0)


def _router_bytes(model: ModelConfig) -> float:
    """Scores and logits; each choice, its weight, and its places in the order of experts."""
    return 4 * 2 * model.experts + (3 * 8 + 2 * 4) * model.top_k


def _received_bytes(config: RunConfig) -> float:
    return config.model.top_k * config.model.width * _bytes(config)


def layer_bytes(config: RunConfig, *, dense: bool) -> float:
    """Bytes that one layer keeps per position from forward to backward."""
    if config.recompute == "none":
        return _attention_bytes(config) + _feed_bytes(config, dense=dense)
    model, size = config.model, _bytes(config)
    # Recomputed blocks keep only their input, mixtures also the router's choices.
    if dense:
        return size * 2 * model.width
    kept = size * 3 * model.width + 4 + _router_bytes(model)
    return kept + (
        _received_bytes(config) if config.recompute == "blocks" and config.expert_parallel > 1 else 0
    )


def trunk_bytes(config: RunConfig) -> float:
    """Bytes that all layers keep per position."""
    model = config.model
    mixtures = model.layers - model.dense_layers
    return model.dense_layers * layer_bytes(config, dense=True) + mixtures * layer_bytes(config, dense=False)


def ends_bytes(config: RunConfig) -> float:
    """Bytes kept per position outside the layers: x for the last norm, the normed x, the predicting vectors,
    and the sound heads' probabilities in fp32. Inputs are embedded again in backward."""
    model, size = config.model, _bytes(config)
    levels = model.frames_per_position * model.mel_bins * model.audio_levels
    targets = SOUND_TARGETS + HEARD_TARGETS * model.user_audio
    return size * model.width * (3 + targets) + targets * 4 * levels


def working_bytes(config: RunConfig, positions: int, world: int) -> float:
    """Temporary bytes: the larger of two peaks, and one block's activations if it is computed again.

    The first peak is the experts' backward: rows twice, gate and up, activations in fp32, and the gradients
    of a layer's weights (if sharded, weights and gradients in both types). The second is the text head with
    its fp32 gradient, twice while it is scaled.
    """
    model, size = config.model, _bytes(config)
    rows, weights = positions * model.top_k, 3 * model.experts * model.expert_width * model.width
    experts: float = rows * (2 * size * model.width + (5 * size + 8) * model.expert_width)
    if world > 1:  # whole weights of this layer and the next come and go
        experts += 2 * (2 * size + 4) * weights / config.expert_parallel
    else:
        experts += size * weights
    if config.recompute != "none":
        kept = dataclasses.replace(config, recompute="none")
        experts += positions * layer_bytes(kept, dense=False)
    table = model.vocab * model.width
    logits = min(CHUNK_LOGITS, TEXT_TARGETS * positions * model.vocab)
    return max(experts, (8 + size) * table + 12 * logits)


def state_bytes(config: RunConfig, parameters: Iterable[tuple[str, torch.Tensor]], world: int = 1) -> float:
    """fp32 parameters, gradients and moments of this rank's parts; averages if configured; on one GPU also
    copies in the precision of activations."""
    # Under FSDP the copies come and go with each layer: part of `working`.
    copies = config.precision == "bf16" and world == 1
    muon, average = config.optim.optimizer == "muon", config.optim.ema_decay is not None
    total = 0.0
    for name, parameter in parameters:
        moments = 1 if muon and uses_muon(name, parameter) else 2
        bytes_each = 4 * (2 + moments + average) + (2 if copies and is_copied(name, parameter) else 0)
        total += bytes_each * local_part(parameter).numel()
    return total


def _micro_positions(config: RunConfig, world: int) -> int:
    """Positions of one rank's micro-batch."""
    return config.data.rows // (world * config.accumulate) * config.data.length


def footprint(config: RunConfig, parameters: Iterable[tuple[str, torch.Tensor]], world: int) -> _Footprint:
    positions = _micro_positions(config, world)
    return _Footprint(
        state=state_bytes(config, parameters, world),
        activations=positions * (trunk_bytes(config) + ends_bytes(config)),
        working=working_bytes(config, positions, world),
    )


def check_memory(
    config: RunConfig, model: torch.nn.Module, world: int, device: torch.device, free: float | None = None
) -> None:
    """Check, before a (sharded) model gets memory, that its training fits.

    Raises: SettingsError, naming settings that would fit.
    """
    if free is None:
        if device.type != "cuda":
            return
        # Memory that this process has already reserved counts as free.
        free = torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device)
    parameters = list(model.named_parameters())
    needed = footprint(config, parameters, world)
    if needed.total <= free:
        return

    def fits(**changes: Any) -> bool:
        changed = dataclasses.replace(config, **changes)
        return footprint(changed, parameters, world).total <= free

    parts = (needed.total, free, needed.state, needed.activations, needed.working)
    raise SettingsError(
        "{:.1f} GB needed, {:.1f} GB free on the GPU: {:.1f} for parameters and optimiser, {:.1f} kept for "
        "backward, {:.1f} working".format(*(part / 1e9 for part in parts)),
        where="memory",
        todo=_remedy(config, world, fits),
    )


def _remedy(config: RunConfig, world: int, fits: Callable[..., bool]) -> str:
    rows = config.data.rows // world
    # Only values that divide the rows of a rank are possible.
    finer = [n for n in range(config.accumulate + 1, rows + 1) if rows % n == 0]
    options = [f"accumulate={n}" for n in finer if fits(accumulate=n)][:1]
    if config.recompute == "none" and fits(recompute="blocks"):
        options.append("recompute=blocks")
    if options:
        return f"set {' or '.join(options)}"
    return "shorten data.length, set recompute=blocks and a larger accumulate, or take more or larger GPUs"
