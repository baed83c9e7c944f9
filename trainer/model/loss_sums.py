"""A micro-batch's losses as weighted sums, and the denominators of an optimiser step.

# E experts, N mixture layers, S streams, A positions of sound

The denominators are counted over the whole step, with all its micro-batches and ranks, so neither
accumulation nor the number of ranks changes a gradient.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch

from corpus.trainer.config import LossConfig
from corpus.trainer.data.sequence import CUE_UNKNOWN, NO_TARGET, Batch


class Denominators(NamedTuple):
    """The denominators of one optimiser step: over all micro-batches and ranks."""

    text_weight: torch.Tensor
    audio_weight: torch.Tensor
    user_audio_weight: torch.Tensor
    cues_weight: torch.Tensor
    positions: torch.Tensor

    @classmethod
    def of(cls, batch: Batch) -> Denominators:
        """One micro-batch's part, from the batch alone. Add these up, over ranks too, before backward."""
        text = batch.text_weight_BL * (batch.text_target_BL != NO_TARGET)
        positions = (batch.segment_BL >= 0).sum().to(torch.float64)
        audio = batch.audio_weight_T * real_targets(batch)
        heard = heard_targets(batch).sum().to(torch.float64)
        cues = (batch.cue_CK != CUE_UNKNOWN).sum().to(torch.float64)
        return cls(text.sum(dtype=torch.float64), audio.sum(dtype=torch.float64), heard, cues, positions)


def real_targets(batch: Batch) -> torch.Tensor:
    """(T,): which sound targets are not padding."""
    rows, length = batch.shape
    return batch.audio_target_at_T < rows * length


def heard_targets(batch: Batch) -> torch.Tensor:
    """(A,): which heard sound is predicted from the position before it, in the same segment."""
    # The first position of a row or segment has nothing before it to predict from.
    at_A, segment_N = batch.audio_at_A.long(), batch.segment_BL.reshape(-1)
    last_A = at_A.clamp(1, len(segment_N) - 1)
    same_A = (at_A % batch.shape[1] > 0) & (segment_N[last_A] == segment_N[last_A - 1])
    return batch.heard_known_A & same_A


@dataclass(frozen=True, slots=True, kw_only=True)
class LossSums:
    """Weighted sums over a micro-batch, and their weights in the loss."""

    text_sum: torch.Tensor
    text_weight: torch.Tensor
    audio_sum: torch.Tensor
    audio_weight: torch.Tensor
    user_audio_sum: torch.Tensor
    user_audio_weight: torch.Tensor
    cues_sum: torch.Tensor
    cues_weight: torch.Tensor
    balance: torch.Tensor
    """Summed over tokens, mean over layers; so is router_z."""
    router_z: torch.Tensor
    positions: torch.Tensor
    load_NE: torch.Tensor
    """Tokens that each expert of each mixture layer received."""
    spoken_NE: torch.Tensor
    """The same, in micro-turns in which the model speaks."""
    margin_N: torch.Tensor
    """Each router's margin, summed over tokens."""
    text_S: torch.Tensor
    """`batch_stats.TEXT_SUMS`."""
    nats_N: torch.Tensor
    """Nats of each position that predicts text, in the order of `Batch.text_at_S`; without gradient."""
    weights: LossConfig

    @property
    def denominators(self) -> Denominators:
        weights = (self.text_weight, self.audio_weight, self.user_audio_weight, self.cues_weight)
        return Denominators(*weights, self.positions)

    def total(self, denominators: Denominators) -> torch.Tensor:
        """This micro-batch's part of the step's loss; the parts add up to it."""
        # A step without sound, for example, has sum 0 and denominator 0: keep 0 / 0 out of the loss.
        text_weight, audio_weight, user_audio_weight, cues_weight, positions = (
            value.clamp_min(1e-9).to(self.text_sum.dtype) for value in denominators
        )
        return (
            self.weights.text * self.text_sum / text_weight
            + self.weights.audio * self.audio_sum / audio_weight
            + (self.weights.balance * self.balance + self.weights.router_z * self.router_z) / positions
            + self.weights.user_audio * self.user_audio_sum / user_audio_weight
            + self.weights.cues * self.cues_sum / cues_weight
        )
