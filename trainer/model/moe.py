"""The feed-forward part of a layer: a mixture of experts, or one network for all positions.

# B rows, L positions, T = B L tokens, D width

    x_BLD -> norm -> router.py: choice -> experts.py: weighted sum -> + the shared expert
"""

from __future__ import annotations

import torch
from torch import nn

from corpus.trainer.config import ModelConfig
from corpus.trainer.model.experts import Experts
from corpus.trainer.model.layers import Gated, Norm, recomputed
from corpus.trainer.model.router import Router, RouterStats, Routes, router_stats


class MixtureOfExperts(nn.Module):
    """Norm, routed experts, and the shared expert."""

    PARTS = ("route", "answer")
    """Compiled where the whole cannot be, because `answer` is recomputed in backward."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.recompute = False
        self.norm = Norm(config.width, config.norm_eps)
        self.router = Router(config)
        self.experts = Experts(config)
        self.shared = Gated(config.width, config.shared_width) if config.shared_width else None

    def forward(
        self, x_BLD: torch.Tensor, valid_BL: torch.Tensor, spoken_BL: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, RouterStats | None]:
        """Keeps statistics only with `spoken_BL`, the positions of micro-turns in which the model speaks."""
        normed_TD, routes, stats = self.route(x_BLD, valid_BL, spoken_BL)
        valid_T = valid_BL.reshape(-1)
        # With expert parallelism `Experts` does its own recomputing, around the exchange.
        if self.recompute and self.experts.group is None:
            y_TD = recomputed(self.answer, normed_TD, routes, valid_T)
        else:
            y_TD = self.answer(normed_TD, routes, valid_T)
        return y_TD.view_as(x_BLD), stats

    def route(
        self, x_BLD: torch.Tensor, valid_BL: torch.Tensor, spoken_BL: torch.Tensor | None
    ) -> tuple[torch.Tensor, Routes, RouterStats | None]:
        """Never recomputed: between two nearly equal experts the choice could change."""
        normed_TD = self.norm(x_BLD).flatten(0, 1)
        routes = self.router(normed_TD, valid_BL.reshape(-1))
        if spoken_BL is None:
            return normed_TD, routes, None
        return normed_TD, routes, router_stats(routes, valid_BL, spoken_BL, self.router.bias_E)

    def answer(self, normed_TD: torch.Tensor, routes: Routes, valid_T: torch.Tensor) -> torch.Tensor:
        y_TD: torch.Tensor = self.experts(normed_TD, routes, valid_T)
        return y_TD if self.shared is None else y_TD + self.shared(normed_TD)


class Dense(nn.Module):
    """Norm and one feed-forward network, without a router."""

    PARTS = ("answer",)

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.recompute = False
        self.norm = Norm(config.width, config.norm_eps)
        self.gated = Gated(config.width, config.dense_width)

    def forward(
        self, x_BLD: torch.Tensor, valid_BL: torch.Tensor, spoken_BL: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, None]:
        # Nothing is chosen here, so the whole block can be computed again.
        return recomputed(self.answer, x_BLD) if self.recompute else self.answer(x_BLD), None

    def answer(self, x_BLD: torch.Tensor) -> torch.Tensor:
        y_BLD: torch.Tensor = self.gated(self.norm(x_BLD))
        return y_BLD
