"""The depth head for sound: groups of bins one after the other, by a small causal transformer.

Whether it sounds better than `dmel` on any data is not measured; it is imported only if a run uses it.

# T positions, D width, R frames, M bins, Q levels, W the head's own width, G groups of bins, S = R G steps,
# B bins of a group
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from corpus.trainer.config import ModelConfig
from corpus.trainer.data import noise
from corpus.trainer.data.noise import NoiseKey
from corpus.trainer.model.heads import Levels, choose_levels
from corpus.trainer.model.layers import Gated, Norm, linear, parameter


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


class DepthHead(Levels):
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
        # The levels drawn by earlier steps, one-hot, through a table for each step.
        hot = (level_TSB[..., None] == kinds).flatten(2).to(hidden_TD.dtype)
        heard = torch.einsum("tsx,sxw->tsw", hot, self.heard[:given].to(hidden_TD.dtype))
        x = linear(hidden_TD, self.known)[:, None] + self.step[: given + 1].to(hidden_TD.dtype)
        # Shifted by one: a step sees earlier steps, never itself.
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
        # Drawn one group after another, each given those before.
        for step in range(self.group_steps):
            logit = self.logits(hidden_TD, level)[:, -1].reshape(-1, self.levels)
            chosen = choose_levels(logit, seed, step, temperature, top_k)
            level = torch.cat((level, chosen.view(-1, 1, self.group_bins)), 1)
        byte: torch.Tensor = self.byte_of_level(level)
        return byte.view(*hidden.shape[:-1], self.frames, self.bins)
