"""Floating point operations that a training step needs, counting only useful work.

Counted are only the experts that a position visits, pairs of positions that see each other (half of a square,
less with packed documents or a window), and heads where something is predicted; padding counts nothing. A
product of (n, k) by (k, m) is 2 n k m. Backward costs twice as much as forward, a product for the input and
one for the weight; only once as much if the input needs no gradient. Table look-ups cost nothing, and neither
does the bag of sound embeddings: it is a sum of rows, although it runs as a product (`Parts.sound_bag`).

Shape suffixes: L positions.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from corpus.trainer.config import ModelConfig, RunConfig
from corpus.trainer.data.sequence import CUE_TARGETS, NO_TARGET, Batch
from corpus.trainer.model.depth_head import DepthHead
from corpus.trainer.model.flow_head import FLOW_DRAWS, FlowHead
from corpus.trainer.model.loss_sums import heard_targets


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """The counts in a batch that decide its operations."""

    positions: float
    pairs: float
    """Pairs of a position and one that it sees, itself included."""
    text_targets: float
    audio_targets: float
    heard_targets: float
    cue_positions: float
    """Positions that predict cues."""
    sounds: float
    """Positions that carry sound."""
    patches: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Operations of each part of the model."""

    projections: float
    attention: float
    dense: float
    experts: float
    """Routed and shared."""
    router: float
    text_head: float
    audio_head: float
    user_audio_head: float
    cue_head: float
    pictures: float
    sound_bag: float
    """Executed but not useful, so not part of `needed`."""
    again: float
    """Pictures embedded once more in backward to save memory; not part of `needed` either."""

    @property
    def needed(self) -> float:
        return self.executed - self.sound_bag - self.again

    @property
    def executed(self) -> float:
        return float(sum(getattr(self, part.name) for part in dataclasses.fields(self)))


def work_of(batch: Batch, config: ModelConfig) -> Work:
    """Count a batch; reads its small columns on the host."""
    rows, length = batch.shape
    trash = rows * length
    segment, turn = batch.segment_BL.cpu().numpy(), batch.turn_BL.cpu().numpy()
    return Work(
        positions=int((segment >= 0).sum()),
        pairs=sum(_pairs(s, t, config) for s, t in zip(segment, turn, strict=True)),
        text_targets=int((batch.text_target_BL != NO_TARGET).sum()),
        audio_targets=int((batch.audio_target_at_T < trash).sum()),
        heard_targets=int(heard_targets(batch).sum()),
        cue_positions=len(batch.cue_at_C),
        sounds=int((batch.audio_at_A < trash).sum()),
        patches=int((batch.patch_at_P < trash).sum()),
    )


def _pairs(segment_L: npt.NDArray[np.int64], turn_L: npt.NDArray[np.int64], config: ModelConfig) -> int:
    total = 0
    for segment in range(int(segment_L.max(initial=-1)) + 1):
        turns = turn_L[segment_L == segment]
        place = np.arange(len(turns))
        seen = place + 1
        if config.attention_window_turns is not None:
            # Micro-turns only rise, so the hidden positions are one stretch, less the sinks in it.
            first = np.searchsorted(turns, turns - config.attention_window_turns + 1)
            sinks = int(np.searchsorted(turns, config.sink_turns))
            seen = seen - np.maximum(0, first - sinks)
        total += int(seen.sum())
    return total


def training(config: ModelConfig, work: Work) -> Parts:
    """Operations of a batch's forward and backward pass."""
    width, mixtures = config.width, config.layers - config.dense_layers
    inner, shared = config.heads * config.head_dim, config.kv_heads * config.head_dim
    at_all = 6 * work.positions
    expert = config.top_k * config.expert_width + config.shared_width
    text = 6 * work.text_targets * width * config.vocab
    frames = config.frames_per_position * config.mel_bins
    return Parts(
        projections=at_all * config.layers * width * 2 * (inner + shared),
        attention=6 * work.pairs * config.layers * 2 * inner,
        dense=at_all * config.dense_layers * 3 * width * config.dense_width,
        experts=at_all * mixtures * 3 * width * expert,
        router=at_all * mixtures * width * config.experts,
        text_head=text,
        audio_head=work.audio_targets * _audio_head(config),
        user_audio_head=work.heard_targets * 6 * width * frames * config.audio_levels,
        cue_head=work.cue_positions * 6 * width * CUE_TARGETS,
        pictures=work.patches * (4 * _patch_inputs(width) + 6 * _patch_rest(width)),
        sound_bag=4 * work.sounds * frames * (config.audio_levels + 1) * width,
        again=2 * work.patches * (_patch_inputs(width) + _patch_rest(width)),
    )


def _audio_head(config: ModelConfig) -> float:
    """Operations for one target, forward and backward."""
    frames, width = config.frames_per_position * config.mel_bins, config.width
    match config.audio_head:
        case "dmel":
            return 6 * width * frames * config.audio_levels
        case "flow":
            inner = config.flow_width
            # Noisy frames and times are inputs without gradients.
            given = 4 * inner * (frames + FlowHead.TIME_FEATURES)
            through = inner * (width + frames) + (5 * config.flow_layers + 2) * inner * inner
            return FLOW_DRAWS * (given + 6 * through)
        case "depth":
            inner, steps = config.depth_width, config.frames_per_position * config.depth_groups
            group = config.mel_bins // config.depth_groups * config.audio_levels
            layer = steps * 10 * inner * inner + steps * (steps + 1) * inner
            heard = 4 * (steps - 1) * group * inner
            return heard + 6 * (width * inner + DepthHead.LAYERS * layer + steps * inner * group)


def _patch_inputs(width: int) -> float:
    """The first of the picture stem's four stages: 64 cells of 75 values. Pixels need no gradient."""
    return 64 * 75 * (width // 4)


def _patch_rest(width: int) -> float:
    """The other three stages, with 16, 4 and 1 cells of four quarters each."""
    quarter = width // 4
    return (16 + 4) * 4 * quarter * quarter + 4 * quarter * width


def flops_of(config: RunConfig, batch: Batch) -> float:
    """Useful operations in training a micro-batch, the numerator of a run's MFU."""
    return training(config.model, work_of(batch, config.model)).needed


def peak_flops(name: str | None = None) -> float | None:
    """Dense bf16 operations per second of the named GPU, or of this machine's; None if it is unknown."""
    if name is None:
        if not torch.cuda.is_available():
            return None
        name = torch.cuda.get_device_name()
    words = set(name.lower().replace("-", " ").split())
    slower = next((peak for kind, peak in _SLOWER.items() if set(kind.split()) <= words), None)
    return slower or next((gpu.bf16_flops for key, gpu in GPUS.items() if key in name.lower()), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """A GPU's figures from its data sheet, without sparsity."""

    bf16_flops: float
    memory_bytes: float
    node_bytes_per_s: float
    """To another GPU of the node, in one direction, as reached in practice."""
    network_bytes_per_s: float
    """To another node, with one network adapter per GPU."""
    node: int = 8


GPUS = {
    "h200": Gpu(
        bf16_flops=989.5e12,
        memory_bytes=141e9,
        node_bytes_per_s=350e9,
        network_bytes_per_s=50e9,
    ),
    "h100": Gpu(
        bf16_flops=989.5e12,
        memory_bytes=80e9,
        node_bytes_per_s=350e9,
        network_bytes_per_s=50e9,
    ),
    "a100": Gpu(
        bf16_flops=312e12,
        memory_bytes=80e9,
        node_bytes_per_s=250e9,
        network_bytes_per_s=25e9,
    ),
    "b200": Gpu(
        bf16_flops=2250e12,
        memory_bytes=180e9,
        node_bytes_per_s=700e9,
        network_bytes_per_s=50e9,
    ),
}

_SLOWER = {"h100 pcie": 756e12, "h100 nvl": 835e12, "h200 nvl": 835e12}
"""Dense bf16 of cards that share a name with the faster modules above."""
