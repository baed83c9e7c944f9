"""Embeds tokens, sound and pictures, each at its positions of the sequence.

# B batch rows, L positions, D width, A sound positions, R frames, M mel bins, Q levels, P patches

Sound and patches come as lists of fixed capacity; their padding goes to a trash row after the last position,
so that shapes never change. Both are embedded again in backward: the patches' stem alone would keep as much
memory as five layers, and the multi-hot matrix of sound more than its vectors.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from corpus.trainer.config import ModelConfig
from corpus.trainer.data import noise
from corpus.trainer.data.levels import level_of_byte
from corpus.trainer.data.noise import NoiseKey
from corpus.trainer.data.sequence import Batch, Stream
from corpus.trainer.model.batch_invariant import each_linear, is_batch_invariant, pointwise
from corpus.trainer.model.layers import Norm, Table, linear, parameter, recomputed


class SoundBag(nn.Module):
    """dMel: the sum of one vector for each (frame, bin, level), as a multi-hot matrix product.

    Unlike that of `embedding_bag`, its backward is deterministic. Every bin has one more row that stands for
    masked sound (`model.sound_masked`, in training only).
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.levels = config.audio_levels
        self.bins = config.frames_per_position * config.mel_bins
        self.weight = parameter(self.bins * (self.levels + 1), config.width)
        self.level_of_byte = Table(level_of_byte(config).astype(np.int64))

    def forward(
        self, audio_ARM: torch.Tensor, dtype: torch.dtype, masked_ARM: torch.Tensor | None = None
    ) -> torch.Tensor:
        """(A, D). A mask may also cover whole positions: (A, 1, 1)."""
        level_ARM: torch.Tensor = self.level_of_byte(audio_ARM)
        if masked_ARM is not None:
            level_ARM = level_ARM.masked_fill(masked_ARM, self.levels)
        # One row per (bin, level): the multi-hot product sums the chosen rows.
        kinds = torch.arange(self.levels + 1, device=level_ARM.device)
        hot = level_ARM.reshape(-1, self.bins, 1) == kinds
        hot_AX = hot.flatten(1).to(dtype)
        weight = self.weight.to(dtype)
        alone = is_batch_invariant()
        sound_AD: torch.Tensor = each_linear(hot_AX, weight.T) if alone else hot_AX @ weight
        scale: float = self.bins**-0.5
        return sound_AD * scale


class PatchStem(nn.Module):
    """hMLP: 40 x 40 pixels by 5, 2, 2, 2 to one vector; patches never mix.

    Convolutions with a stride equal to their size are products of reshaped pixels: deterministic, and faster.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        inner = config.width // 4
        self.inputs = nn.ParameterList(
            [
                parameter(inner, 75),
                parameter(inner, 4 * inner),
                parameter(inner, 4 * inner),
                parameter(config.width, 4 * inner),
            ]
        )
        self.norms = nn.ModuleList([Norm(inner, config.norm_eps) for _ in range(3)])

    def forward(self, patch_PHWC: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        count = len(patch_PHWC)
        cells = patch_PHWC.reshape(count, 2, 2, 2, 5, 2, 2, 2, 5, 3)
        # Outermost cells first, pixels of a 5 x 5 cell last: each stage joins the last four cells.
        x = cells.permute(0, 1, 5, 2, 6, 3, 7, 4, 8, 9).reshape(count, 64, 75)
        # Bytes to [-1, 1].
        x = x.to(dtype) / 127.5 - 1
        for stage, weight in enumerate(self.inputs):
            if stage:
                x = pointwise(F.gelu, self.norms[stage - 1](x)).reshape(
                    count, x.shape[1] // 4, 4 * x.shape[2]
                )
            x = linear(x, weight)
        return x[:, 0]


def masked_sound(batch: Batch, share: float, key: NoiseKey, row_B: torch.Tensor) -> torch.Tensor:
    """(A,): positions in windows of sound that are hidden from the model, drawn separately for each stream.

    Drawn by the window's place: its row in the global batch, document and micro-turn. The key holds -1 where
    those of losses hold a position, so that no loss draws the same numbers.
    """
    rows, length = batch.shape
    # Padding points one past the batch; clamp it so that it indexes something.
    at_A = batch.audio_at_A.long().clamp_max(rows * length - 1)  # any valid index will do
    row_A = row_B.to(at_A.device).long()[at_A // length]
    segment_A, turn_A, stream_A = (
        each_BL.reshape(-1)[at_A] for each_BL in (batch.segment_BL, batch.turn_BL, batch.stream_BL)
    )
    return noise.uniform(noise.mix(key.seed, key.step, -1, row_A, segment_A, turn_A, stream_A)) < share


class Embed(nn.Module):
    """All positions of a batch as vectors."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.text = parameter(config.vocab, config.width)
        self.stream = parameter(len(Stream), config.width)
        self.sound = SoundBag(config)
        self.patch = PatchStem(config) if config.patches else None

    def forward(
        self,
        token_BL: torch.Tensor,
        stream_BL: torch.Tensor,
        sound: tuple[torch.Tensor, torch.Tensor],
        patches: tuple[torch.Tensor, torch.Tensor] | None,
        dtype: torch.dtype,
        masked_A: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """x_BLD. `sound` and `patches` are pairs of flat positions and values."""
        rows, length = token_BL.shape
        token_N = token_BL.reshape(-1).long()
        text_ND = F.embedding(token_N.clamp_min(0), self.text).to(dtype)
        # Positions of sound and pictures have no token: their rows are zeroed, then overwritten.
        text_ND = text_ND.masked_fill((token_N < 0)[:, None], 0)
        # The trash row: padding of the sound and patch lists lands there.
        x_ND = torch.cat((text_ND, text_ND.new_zeros(1, text_ND.shape[1])))
        audio_at_A, audio_ARM = sound
        masked_A11 = None if masked_A is None else masked_A[:, None, None]
        x_ND = x_ND.index_copy(0, audio_at_A.long(), recomputed(self.sound, audio_ARM, dtype, masked_A11))
        if patches is not None and self.patch is not None:
            patch_at_P, patch_PHWC = patches
            x_ND = x_ND.index_copy(0, patch_at_P.long(), recomputed(self.patch, patch_PHWC, dtype))
        # Drop the trash row, then mark every position with its stream.
        x_BLD = x_ND[:-1].view(rows, length, -1)
        return x_BLD + F.embedding(stream_BL.long(), self.stream).to(dtype)
