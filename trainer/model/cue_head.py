"""Predicts which cues begin and hold in a window, at the position where its last sound has been heard.

A linear map with a bias: cues are rare, so most of what can be learnt is in the bias. Targets are not
weighted by their rarity, so the probabilities are calibrated.

Shape suffixes: C positions that predict cues, D width, K cue targets, N positions of a batch.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from corpus.trainer.config import LossConfig, ModelConfig
from corpus.trainer.data.cues import CUE_LABELS, CUE_SHAPE
from corpus.trainer.data.sequence import CUE_TARGETS, CUE_UNKNOWN, Batch
from corpus.trainer.model.layers import linear, parameter, wide


class CueHead(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.weight = parameter(CUE_TARGETS, config.width)
        self.bias = parameter(CUE_TARGETS)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """(..., K) logits in fp32 or wider."""
        logit = wide(linear(hidden, self.weight))
        return logit + self.bias.to(hidden.dtype).to(logit.dtype)

    def losses(self, hidden_ND: torch.Tensor, batch: Batch) -> torch.Tensor:
        """(C, K) nats of each target, 0 where it is unknown."""
        logit_CK = self(hidden_ND[batch.cue_at_C])
        target_CK = batch.cue_CK.to(logit_CK.dtype)
        # Unknown targets are larger than 1: clamp them for the kernel, then zero their loss.
        nats_CK = F.binary_cross_entropy_with_logits(logit_CK, target_CK.clamp(max=1), reduction="none")
        return nats_CK.masked_fill(batch.cue_CK == CUE_UNKNOWN, 0)

    def weighted_sum(self, hidden_ND: torch.Tensor, batch: Batch, weights: LossConfig) -> torch.Tensor:
        """The sum of all targets' nats, each with its label's weight; 0-D."""
        nats_CK = self.losses(hidden_ND, batch)
        return (nats_CK * _weights_of(weights, nats_CK)).sum()


def _weights_of(loss: LossConfig, like: torch.Tensor) -> torch.Tensor:
    """(K,): each target's weight, by its label."""
    label_J = torch.tensor([loss.cue_weight.get(label, 1.0) for label in CUE_LABELS], dtype=like.dtype)
    return label_J[None, :, None].expand(CUE_SHAPE).reshape(CUE_TARGETS).to(like.device)
