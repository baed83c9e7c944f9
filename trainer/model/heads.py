"""Three heads for the model's own sound: each turns a hidden vector into r frames of M mel bins.

# T positions, D width, R frames, M bins, Q levels

    dmel    all bins at once, each a softmax over levels
    flow    a rectified flow from noise to the frames, by a small network conditioned on the hidden vector
    depth   groups of bins one after the other, each a softmax given the groups before it (depth_head.py)

`losses` gives nats per bin (dmel, depth) or squared error (flow_head.py) at every position. `sample` gives
mel bytes of one position or many, ready to be fed back. All randomness is a function of keys (noise.py).
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from corpus.trainer.config import ModelConfig
from corpus.trainer.data import noise
from corpus.trainer.data.levels import byte_of_level, level_of_byte
from corpus.trainer.data.noise import NoiseKey
from corpus.trainer.model.layers import Table, linear, parameter, wide


class AudioHead(Protocol):
    def losses(
        self, hidden_TD: torch.Tensor, target_TRM: torch.Tensor, key: NoiseKey, position_T: torch.Tensor
    ) -> torch.Tensor: ...

    def sample(
        self,
        hidden: torch.Tensor,
        *,
        seed: noise.Key,
        temperature: float = 1.0,
        top_k: int = 0,
        guidance: float = 1.0,
    ) -> torch.Tensor:
        """(..., R, M) mel bytes for hidden vectors (..., D). Settings of other heads are ignored."""
        ...


def choose_levels(
    logit_NQ: torch.Tensor, seed: noise.Key, step: int, temperature: float, top_k: int
) -> torch.Tensor:
    """One level of each row: the likeliest at temperature 0, else drawn, with `top_k` among the likeliest."""
    logit_NQ = wide(logit_NQ)
    if temperature <= 0:
        return logit_NQ.argmax(-1)
    if 0 < top_k < logit_NQ.shape[1]:
        # Only the likeliest `top_k` can be drawn.
        floor = logit_NQ.topk(top_k, -1).values[:, -1:]
        logit_NQ = logit_NQ.masked_fill(logit_NQ < floor, -torch.inf)
    element = torch.arange(logit_NQ.numel(), device=logit_NQ.device).view(logit_NQ.shape)
    # Gumbel-max: the largest of logits plus this noise is a draw from their softmax.
    gumbel = -torch.log(-torch.log(noise.uniform(noise.mix(seed, step, element))))
    return (logit_NQ / temperature + gumbel.to(logit_NQ.dtype)).argmax(-1)


class Levels(nn.Module):
    """The shapes and tables that dmel and depth share."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.frames, self.bins = config.frames_per_position, config.mel_bins
        self.levels = config.audio_levels
        self.level_of_byte = Table(level_of_byte(config).astype(np.int64))
        self.byte_of_level = Table(byte_of_level(config))

    def nats(self, logit_T_Q: torch.Tensor, level_TRM: torch.Tensor) -> torch.Tensor:
        """(T,): mean over all bins of the frames."""
        each = F.cross_entropy(
            wide(logit_T_Q).reshape(-1, self.levels), level_TRM.reshape(-1), reduction="none"
        )
        return each.view(level_TRM.shape).flatten(1).mean(1)


class DmelHead(Levels):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.weight = parameter(self.frames * self.bins * self.levels, config.width)

    def losses(
        self, hidden_TD: torch.Tensor, target_TRM: torch.Tensor, key: NoiseKey, position_T: torch.Tensor
    ) -> torch.Tensor:
        return self.nats(linear(hidden_TD, self.weight), self.level_of_byte(target_TRM))

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """(..., R, M, Q)."""
        logit = linear(hidden, self.weight)
        return logit.view(*logit.shape[:-1], self.frames, self.bins, self.levels)

    @torch.no_grad()
    def sample(
        self,
        hidden: torch.Tensor,
        *,
        seed: noise.Key,
        temperature: float = 1.0,
        top_k: int = 0,
        guidance: float = 1.0,
    ) -> torch.Tensor:
        logit = self.logits(hidden)
        level = choose_levels(logit.view(-1, self.levels), seed, 0, temperature, top_k)
        byte: torch.Tensor = self.byte_of_level(level)
        return byte.view(logit.shape[:-1])
