"""What follows attention in a layer: a mixture of experts, or one feed-forward for all.

# B rows, L positions, T = B L tokens, D width

    x_BLD -> norm -> router.py: who -> experts.py: what each says, weighed -> + the expert all visit
"""

from __future__ import annotations

import torch
from torch import nn

from corpus.trainer.config import ModelConfig
from corpus.trainer.experts import Experts
from corpus.trainer.layers import Gated, Norm
from corpus.trainer.router import Router, RouterStats, router_stats


class MixtureOfExperts(nn.Module):
    """Norm, routed experts, and the expert every position visits."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.norm = Norm(config.width, config.norm_eps)
        self.router = Router(config)
        self.experts = Experts(config)
        self.shared = Gated(config.width, config.shared_width) if config.shared_width else None

    def forward(
        self, x_BLD: torch.Tensor, valid_BL: torch.Tensor, with_stats: bool = True
    ) -> tuple[torch.Tensor, RouterStats | None]:
        normed = self.norm(x_BLD)
        x_TD = normed.flatten(0, 1)
        valid_T = valid_BL.reshape(-1)
        routes = self.router(x_TD, valid_T)
        y_TD = self.experts(x_TD, routes, valid_T)
        if self.shared is not None:
            y_TD = y_TD + self.shared(x_TD)
        stats = router_stats(routes, valid_BL) if with_stats else None
        return y_TD.view_as(x_BLD), stats


class Dense(nn.Module):
    """Norm and one feed-forward for all, with no router to speak of."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.norm = Norm(config.width, config.norm_eps)
        self.gated = Gated(config.width, config.dense_width)

    def forward(
        self, x_BLD: torch.Tensor, valid_BL: torch.Tensor, with_stats: bool = True
    ) -> tuple[torch.Tensor, None]:
        return self.gated(self.norm(x_BLD)), None
