"""A rectified flow from noise to the frames of a position, conditioned on its hidden vector.

# T positions, D width, R frames, M bins, X = R M values, K times

    x_t = (1 - t) noise + t value        the network learns dx/dt = value - noise at x_t, given t and hidden
    training                             times drawn from a logistic normal, a share of hidden vectors dropped
    evaluation (`eval()`)                times on a fixed grid: the quantiles of that distribution
    sampling                             Euler steps from noise, with classifier-free guidance

A dropped hidden vector is replaced by zeros. Hidden vectors are normed, so no real one is zero, and the
dropped one needs no parameter.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from corpus.trainer.config import ModelConfig
from corpus.trainer.data import noise
from corpus.trainer.data.levels import value_of_byte
from corpus.trainer.data.noise import NoiseKey
from corpus.trainer.model.layers import Table, linear, parameter, wide

FLOW_DRAWS = 4
"""Times drawn for each target."""
GRID_TIMES = 8
"""Times at which the loss is taken in evaluation."""


class _FlowBlock(nn.Module):
    """A residual layer whose norm is shifted, scaled and gated by the condition (AdaLN)."""

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
        self.dropout = config.flow_dropout
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
        self.grid_K = Table(_quantiles(GRID_TIMES))

    def velocity(self, x: torch.Tensor, time: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        """dx/dt at x (..., R M) and time (..., 1), given hidden (..., D); zeros mean no condition."""
        # Sinusoidal features of the time, as in diffusion models.
        speeds = torch.exp(
            torch.arange(self.TIME_FEATURES // 2, device=x.device)
            * (-math.log(1e4) / (self.TIME_FEATURES // 2))
        )
        angle = 1000 * time.float() * speeds
        waves = torch.cat((angle.cos(), angle.sin()), -1).to(hidden.dtype)
        # The condition of all layers: hidden vector and time, added.
        known = F.silu(linear(hidden, self.known) + linear(waves, self.time))
        state = linear(x.to(hidden.dtype), self.into)
        for block in self.blocks:
            state = block(state, known)
        shift, scale = linear(known, self.adapt).chunk(2, -1)
        return linear(F.layer_norm(state, state.shape[-1:]) * (1 + scale) + shift, self.out)

    def guided(
        self, x: torch.Tensor, time: torch.Tensor, hidden: torch.Tensor, guidance: float
    ) -> torch.Tensor:
        """Classifier-free guidance: the unconditional velocity plus `guidance` times the difference."""
        if guidance == 1.0:
            return self.velocity(x, time, hidden)
        # With and without the condition in one batch.
        both = torch.cat((hidden, torch.zeros_like(hidden)))
        known, free = self.velocity(torch.cat((x, x)), torch.cat((time, time)), both).chunk(2)
        return free + guidance * (known - free)

    def losses(
        self, hidden_TD: torch.Tensor, target_TRM: torch.Tensor, key: NoiseKey, position_T: torch.Tensor
    ) -> torch.Tensor:
        return self.losses_of_values(hidden_TD, self.value_of_byte(target_TRM).flatten(1), key, position_T)

    def losses_of_values(
        self, hidden_TD: torch.Tensor, value_TX: torch.Tensor, key: NoiseKey, position_T: torch.Tensor
    ) -> torch.Tensor:
        """(T,): squared error of the velocity, mean over dimensions and times."""
        device = hidden_TD.device
        count = FLOW_DRAWS if self.training else GRID_TIMES
        draw_K1 = torch.arange(count, device=device)[:, None]
        # Element 0 draws the time, so the noise uses elements from 1 on.
        element_X = torch.arange(self.size, device=device) + 1
        where_T11 = position_T.long()[:, None, None]
        if self.training:
            time = torch.sigmoid(noise.normal(key.seed, key.step, where_T11, draw_K1, 0))
            hidden_TD = hidden_TD.masked_fill(self.dropped(key, position_T)[:, None], 0)
        else:
            time = self.grid_K(draw_K1)
        start = noise.normal(key.seed, key.step, where_T11, draw_K1, element_X).to(value_TX.dtype)
        value = value_TX[:, None]
        # A point on the straight line; its velocity, value - start, is the target.
        x = (1 - time) * start + time * value
        hidden = hidden_TD[:, None].expand(-1, count, -1)
        error = wide(self.velocity(x, time.expand(len(x), -1, -1), hidden)) - (value - start)
        return error.square().mean((1, 2))

    def dropped(self, key: NoiseKey, position_T: torch.Tensor) -> torch.Tensor:
        """(T,): whether a target's hidden vector is dropped in training. No draw shares its key."""
        return noise.uniform(noise.mix(key.seed, key.step, position_T, FLOW_DRAWS)) < self.dropout

    @torch.no_grad()
    def sample_values(
        self, hidden_ND: torch.Tensor, *, seed: noise.Key, temperature: float = 1.0, guidance: float = 1.0
    ) -> torch.Tensor:
        """(N, R M): Euler steps from noise scaled by the temperature."""
        element = torch.arange(len(hidden_ND) * self.size, device=hidden_ND.device).view(-1, self.size)
        x = noise.normal(seed, element) * temperature
        for step in range(self.steps):
            time = torch.full((len(x), 1), step / self.steps, device=x.device)
            x = x + self.guided(x, time, hidden_ND, guidance).to(x.dtype) / self.steps
        return x

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
        """(..., R, M) mel bytes; `top_k` is not used."""
        hidden_ND = hidden.reshape(-1, hidden.shape[-1])
        value = self.sample_values(hidden_ND, seed=seed, temperature=temperature, guidance=guidance)
        scale = 255 / (self.highest - self.lowest)
        byte = ((value.double() - self.lowest) * scale).round().clamp(0, 255)
        return byte.to(torch.uint8).view(*hidden.shape[:-1], self.frames, self.bins)


def _quantiles(count: int) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """The midpoints of equal parts of the logistic normal distribution."""
    normals = [NormalDist().inv_cdf((number + 0.5) / count) for number in range(count)]
    return np.array([1 / (1 + math.exp(-value)) for value in normals], np.float32)
