"""Three heads for the model's own sound: all hear a hidden vector and give r frames of M mel bins.

# T positions, D width, R frames, M bins, Q levels, W the head's own width, G groups of bins, S = R G steps

    dmel    all bins at once, each a softmax over levels
    flow    a rectified flow from noise to the frames, by a small network steered by the hidden vector
    depth   groups of bins one after the other, each a softmax over levels knowing the groups before

`losses` gives nats a bin (dmel, depth) or squared error (flow) of every position. `sample` gives mel bytes,
ready to be heard again. All randomness is a function of keys, see noise.py.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from corpus.trainer import noise
from corpus.trainer.config import ModelConfig
from corpus.trainer.layers import Gated, Norm, Table, linear, parameter, wide
from corpus.trainer.levels import byte_of_level, level_of_byte, value_of_byte

FLOW_DRAWS = 4
"""Times drawn for each target."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseKey:
    """Where in training a loss is taken: with the position it decides all of the loss's randomness."""

    seed: int = 0
    step: int = 0


class AudioHead(Protocol):
    def losses(
        self, hidden_TD: torch.Tensor, target_TRM: torch.Tensor, key: NoiseKey, position_T: torch.Tensor
    ) -> torch.Tensor: ...

    def sample(
        self, hidden_D: torch.Tensor, *, seed: noise.Key, temperature: float = 1.0, top_k: int = 0
    ) -> torch.Tensor: ...


def choose_levels(
    logit_NQ: torch.Tensor, seed: noise.Key, step: int, temperature: float, top_k: int
) -> torch.Tensor:
    """One level of each row: the likeliest at temperature 0, else drawn, if `top_k` from the likeliest."""
    logit_NQ = wide(logit_NQ)
    if temperature <= 0:
        return logit_NQ.argmax(-1)
    if 0 < top_k < logit_NQ.shape[1]:
        floor = logit_NQ.topk(top_k, -1).values[:, -1:]
        logit_NQ = logit_NQ.masked_fill(logit_NQ < floor, -torch.inf)
    element = torch.arange(logit_NQ.numel(), device=logit_NQ.device).view(logit_NQ.shape)
    gumbel = -torch.log(-torch.log(noise.uniform(noise.mix(seed, step, element))))
    return (logit_NQ / temperature + gumbel.to(logit_NQ.dtype)).argmax(-1)


class _Levels(nn.Module):
    """What dmel and depth share: shapes and tables."""

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
        return each.view(len(level_TRM), -1).mean(1)


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
        self, hidden_D: torch.Tensor, *, seed: noise.Key, temperature: float = 1.0, top_k: int = 0
    ) -> torch.Tensor:
        logit = self.logits(hidden_D).view(-1, self.levels)
        level = choose_levels(logit, seed, 0, temperature, top_k)
        byte: torch.Tensor = self.byte_of_level(level)
        return byte.view(self.frames, self.bins)


class _FlowBlock(nn.Module):
    """A residual layer whose norm is shifted, scaled and gated by what is known (AdaLN)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.adapt = parameter(3 * width, width)
        self.up = parameter(width, width)
        self.down = parameter(width, width)

    def forward(self, x: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
        shift, scale, gate = linear(known, self.adapt).chunk(3, -1)
        normed = F.layer_norm(x, x.shape[-1:]) * (1 + scale) + shift
        return x + gate * linear(F.silu(linear(normed, self.up)), self.down)


class FlowHead(nn.Module):
    """Velocity field from noise (t = 0) to frames (t = 1) along straight lines."""

    TIME_FEATURES = 256

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.frames, self.bins, self.steps = config.frames_per_position, config.mel_bins, config.flow_steps
        self.size = self.frames * self.bins
        inner = config.flow_width
        self.into = parameter(inner, self.size)
        self.known = parameter(inner, config.width)
        self.time = parameter(inner, self.TIME_FEATURES)
        self.blocks = nn.ModuleList([_FlowBlock(inner) for _ in range(config.flow_layers)])
        self.adapt = parameter(2 * inner, inner)
        self.out = parameter(self.size, inner)
        values = value_of_byte(config)
        self.lowest, self.highest = float(values[0]), float(values[-1])
        self.value_of_byte = Table(values.astype(np.float32))

    def velocity(self, x: torch.Tensor, time: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        """dx/dt at x (..., R M), time (..., 1), given hidden (..., D)."""
        speeds = torch.exp(
            torch.arange(self.TIME_FEATURES // 2, device=x.device)
            * (-math.log(1e4) / (self.TIME_FEATURES // 2))
        )
        angle = 1000 * time.float() * speeds
        waves = torch.cat((angle.cos(), angle.sin()), -1).to(hidden.dtype)
        known = F.silu(linear(hidden, self.known) + linear(waves, self.time))
        state = linear(x.to(hidden.dtype), self.into)
        for block in self.blocks:
            state = block(state, known)
        shift, scale = linear(known, self.adapt).chunk(2, -1)
        return linear(F.layer_norm(state, state.shape[-1:]) * (1 + scale) + shift, self.out)

    def losses(
        self, hidden_TD: torch.Tensor, target_TRM: torch.Tensor, key: NoiseKey, position_T: torch.Tensor
    ) -> torch.Tensor:
        return self.losses_of_values(hidden_TD, self.value_of_byte(target_TRM).flatten(1), key, position_T)

    def losses_of_values(
        self, hidden_TD: torch.Tensor, value_TX: torch.Tensor, key: NoiseKey, position_T: torch.Tensor
    ) -> torch.Tensor:
        """(T,): squared error of the velocity, mean over dimensions and over 4 logit-normal times."""
        device = hidden_TD.device
        draw_K1 = torch.arange(FLOW_DRAWS, device=device)[:, None]
        element_X = torch.arange(self.size, device=device) + 1
        where_T11 = position_T.long()[:, None, None]
        time = torch.sigmoid(noise.normal(key.seed, key.step, where_T11, draw_K1, 0))
        start = noise.normal(key.seed, key.step, where_T11, draw_K1, element_X).to(value_TX.dtype)
        value = value_TX[:, None]
        x = (1 - time) * start + time * value
        hidden = hidden_TD[:, None].expand(-1, FLOW_DRAWS, -1)
        error = wide(self.velocity(x, time, hidden)) - (value - start)
        return error.square().mean((1, 2))

    @torch.no_grad()
    def sample_values(
        self, hidden_ND: torch.Tensor, *, seed: noise.Key, temperature: float = 1.0
    ) -> torch.Tensor:
        """(N, R M): Euler's steps from noise scaled by the temperature."""
        element = torch.arange(len(hidden_ND) * self.size, device=hidden_ND.device).view(-1, self.size)
        x = noise.normal(seed, element) * temperature
        for step in range(self.steps):
            time = torch.full((len(x), 1), step / self.steps, device=x.device)
            x = x + self.velocity(x, time, hidden_ND).to(x.dtype) / self.steps
        return x

    @torch.no_grad()
    def sample(
        self, hidden_D: torch.Tensor, *, seed: noise.Key, temperature: float = 1.0, top_k: int = 0
    ) -> torch.Tensor:
        """`top_k` means nothing here."""
        value = self.sample_values(hidden_D[None], seed=seed, temperature=temperature)[0]
        scale = 255 / (self.highest - self.lowest)
        byte = ((value.double() - self.lowest) * scale).round().clamp(0, 255)
        return byte.to(torch.uint8).view(self.frames, self.bins)


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
        self, hidden_D: torch.Tensor, *, seed: noise.Key, temperature: float = 1.0, top_k: int = 0
    ) -> torch.Tensor:
        level = torch.zeros(1, 0, self.group_bins, dtype=torch.int64, device=hidden_D.device)
        for step in range(self.group_steps):
            logit = self.logits(hidden_D[None], level)[0, -1]
            chosen = choose_levels(logit, seed, step, temperature, top_k)
            level = torch.cat((level, chosen.view(1, 1, -1)), 1)
        byte: torch.Tensor = self.byte_of_level(level)
        return byte.view(self.frames, self.bins)


def audio_head(config: ModelConfig) -> DmelHead | FlowHead | DepthHead:
    match config.audio_head:
        case "dmel":
            return DmelHead(config)
        case "flow":
            return FlowHead(config)
        case "depth":
            return DepthHead(config)
