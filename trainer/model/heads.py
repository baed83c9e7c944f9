"""Three heads for the model's own sound: each turns a hidden vector into r frames of M mel bins.

# T positions, D width, R frames, M bins, Q levels, W the head's own width, G groups of bins, S = R G steps

    dmel    all bins at once, each a softmax over levels
    flow    a rectified flow from noise to the frames, by a small network steered by the hidden vector
    depth   groups of bins one after the other, each a softmax over levels knowing the groups before

`losses` gives nats a bin (dmel, depth) or squared error (flow_head.py) of every position. `sample` gives mel
bytes, ready to be heard again, of one position or many. All randomness is a function of keys, see noise.py.
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
from corpus.trainer.model.flow_head import FlowHead
from corpus.trainer.model.layers import Gated, Norm, Table, linear, parameter, wide


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
        floor = logit_NQ.topk(top_k, -1).values[:, -1:]
        logit_NQ = logit_NQ.masked_fill(logit_NQ < floor, -torch.inf)
    element = torch.arange(logit_NQ.numel(), device=logit_NQ.device).view(logit_NQ.shape)
    # Gumbel-max: the largest of logits plus this noise is a draw from their softmax.
    gumbel = -torch.log(-torch.log(noise.uniform(noise.mix(seed, step, element))))
    return (logit_NQ / temperature + gumbel.to(logit_NQ.dtype)).argmax(-1)


class _Levels(nn.Module):
    """Shapes and tables that dmel and depth have in common."""

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


class DmelHead(_Levels):
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


class _DepthLayer(nn.Module):
    def __init__(self, width: int, heads: int, eps: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm = Norm(width, eps)
        self.query_key_value = parameter(3 * width, width)
        self.out = parameter(width, width)
        self.gated_norm = Norm(width, eps)
        self.gated = Gated(width, 2 * width)

    def forward(self, x_TSW: torch.Tensor) -> torch.Tensor:
        joint = linear(self.norm(x_TSW), self.query_key_value)
        joint = joint.view(*x_TSW.shape[:2], 3, self.heads, x_TSW.shape[2] // self.heads)
        query, key, value = joint.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        x_TSW = x_TSW + linear(mixed.transpose(1, 2).flatten(2), self.out)
        added: torch.Tensor = self.gated(self.gated_norm(x_TSW))
        return x_TSW + added


class DepthHead(_Levels):
    """A causal transformer over the r x 8 groups of a position; a group's bins are drawn together."""

    LAYERS = 2

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        width = config.depth_width
        self.group_steps = self.frames * config.depth_groups
        self.group_bins = config.mel_bins // config.depth_groups
        self.known = parameter(width, config.width)
        self.step = parameter(self.group_steps, width)
        self.heard = parameter(self.group_steps, self.group_bins * self.levels, width)
        self.layers = nn.ModuleList(
            [_DepthLayer(width, max(1, width // 64), config.norm_eps) for _ in range(self.LAYERS)]
        )
        self.norm = Norm(width, config.norm_eps)
        self.out = parameter(self.group_steps, self.group_bins * self.levels, width)

    def logits(self, hidden_TD: torch.Tensor, level_TSB: torch.Tensor) -> torch.Tensor:
        """(T, steps + 1, bins, Q), given the levels of the first steps (fewer than all)."""
        given = level_TSB.shape[1]
        kinds = torch.arange(self.levels, device=level_TSB.device)
        hot = (level_TSB[..., None] == kinds).flatten(2).to(hidden_TD.dtype)
        heard = torch.einsum("tsx,sxw->tsw", hot, self.heard[:given].to(hidden_TD.dtype))
        x = linear(hidden_TD, self.known)[:, None] + self.step[: given + 1].to(hidden_TD.dtype)
        # Shifted by one group: a step sees the levels of the groups before it, never its own.
        x = x + F.pad(heard * self.group_bins**-0.5, (0, 0, 1, 0))
        for layer in self.layers:
            x = layer(x)
        logit = torch.einsum("tsw,sxw->tsx", self.norm(x), self.out[: given + 1].to(x.dtype))
        return logit.view(*logit.shape[:2], self.group_bins, self.levels)

    def losses(
        self, hidden_TD: torch.Tensor, target_TRM: torch.Tensor, key: NoiseKey, position_T: torch.Tensor
    ) -> torch.Tensor:
        level_TSB = self.level_of_byte(target_TRM).view(-1, self.group_steps, self.group_bins)
        return self.nats(self.logits(hidden_TD, level_TSB[:, :-1]), level_TSB)

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
        hidden_TD = hidden.reshape(-1, hidden.shape[-1])
        level = torch.zeros(len(hidden_TD), 0, self.group_bins, dtype=torch.int64, device=hidden.device)
        for step in range(self.group_steps):
            logit = self.logits(hidden_TD, level)[:, -1].reshape(-1, self.levels)
            chosen = choose_levels(logit, seed, step, temperature, top_k)
            level = torch.cat((level, chosen.view(-1, 1, self.group_bins)), 1)
        byte: torch.Tensor = self.byte_of_level(level)
        return byte.view(*hidden.shape[:-1], self.frames, self.bins)


def audio_head(config: ModelConfig) -> DmelHead | FlowHead | DepthHead:
    match config.audio_head:
        case "dmel":
            return DmelHead(config)
        case "flow":
            return FlowHead(config)
        case "depth":
            return DepthHead(config)
