"""How others write a mixture of experts, with our router and weights, for comparison.

# T tokens, D width, E experts, K of them a token, N = T K rows, F inner width
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from corpus.trainer.model.moe import MixtureOfExperts


class _Twin(nn.Module):
    """A layer's norm, router and shared expert, and its experts' weights, (E, 2F, D) and (E, D, F)."""

    def __init__(self, ours: MixtureOfExperts) -> None:
        super().__init__()
        self.norm, self.router, self.shared = ours.norm, ours.router, ours.shared
        packed = [parameter for parameter in ours.parameters() if parameter.ndim == 3]
        gate_up = max(packed, key=torch.numel)
        (down,) = (parameter for parameter in packed if parameter is not gate_up)
        self.experts = len(down)
        gate, up = gate_up.detach().chunk(2, 1)
        self.gate, self.up = nn.Parameter(gate.clone()), nn.Parameter(up.clone())
        self.down = nn.Parameter(down.detach().clone())

    def forward(
        self, x_BLD: torch.Tensor, valid_BL: torch.Tensor, with_stats: bool = False
    ) -> tuple[torch.Tensor, None]:
        x_TD = self.norm(x_BLD).flatten(0, 1)
        routes = self.router(x_TD, valid_BL.reshape(-1))
        y_TD = torch.zeros_like(x_TD) if self.shared is None else self.shared(x_TD)
        return self.routed(x_TD, y_TD, routes.choice_TK, routes.weight_TK).view_as(x_BLD), None

    def routed(
        self, x_TD: torch.Tensor, y_TD: torch.Tensor, choice_TK: torch.Tensor, weight_TK: torch.Tensor
    ) -> torch.Tensor:
        raise NotImplementedError  # abstract: each recipe below overrides it


class SeparateProducts(_Twin):
    """The usual open recipe: sort, gather, three grouped products, fp32 scores, scatter-add."""

    def routed(
        self, x_TD: torch.Tensor, y_TD: torch.Tensor, choice_TK: torch.Tensor, weight_TK: torch.Tensor
    ) -> torch.Tensor:
        choice_N = choice_TK.reshape(-1)
        order_N = choice_N.argsort(stable=True)
        ones_N = torch.ones_like(choice_N, dtype=torch.int32)
        count_E = ones_N.new_zeros(self.experts).scatter_add(0, choice_N, ones_N)
        ends = count_E.cumsum(0, dtype=torch.int32)
        token_ND = (order_N // choice_TK.shape[1])[:, None].expand(-1, x_TD.shape[1])
        rows_ND = x_TD.gather(0, token_ND)
        gate = F.grouped_mm(rows_ND, self.gate.mT, offs=ends)
        up = F.grouped_mm(rows_ND, self.up.mT, offs=ends)
        out_ND = F.grouped_mm(F.silu(gate) * up, self.down.mT, offs=ends)
        scored_ND = (out_ND.float() * weight_TK.reshape(-1)[order_N][:, None]).to(x_TD.dtype)
        return y_TD.scatter_add(0, token_ND, scored_ND)


class ExpertLoop(_Twin):
    """One expert after the other, each on the tokens that chose it."""

    def routed(
        self, x_TD: torch.Tensor, y_TD: torch.Tensor, choice_TK: torch.Tensor, weight_TK: torch.Tensor
    ) -> torch.Tensor:
        for expert in range(self.experts):
            token, slot = (choice_TK == expert).nonzero(as_tuple=True)
            rows = x_TD[token]
            hidden = F.silu(F.linear(rows, self.gate[expert])) * F.linear(rows, self.up[expert])
            out = F.linear(hidden, self.down[expert]) * weight_TK[token, slot, None]
            y_TD = y_TD.index_add(0, token, out.to(y_TD.dtype))
        return y_TD
