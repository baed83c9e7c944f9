"""Which experts a token visits and with what weights; statistics of the choices.

# B rows, L positions, T = B L tokens, E experts, K of them a token
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import nn

from corpus.trainer.config import ModelConfig
from corpus.trainer.model.batch_invariant import pointwise
from corpus.trainer.model.layers import linear, parameter


class Routes(NamedTuple):
    choice_TK: torch.Tensor
    weight_TK: torch.Tensor
    """fp32; zero for padding."""
    score_TE: torch.Tensor
    logit_TE: torch.Tensor


class RouterStats(NamedTuple):
    """Sums over the valid tokens of a batch, for losses and logs."""

    count_E: torch.Tensor
    """int64: tokens that each expert received."""
    balance: torch.Tensor
    """Sum over rows of the row's balance loss times its tokens."""
    router_z: torch.Tensor
    """Sum over tokens of the squared log-sum-exp of the logits."""
    spoken_E: torch.Tensor
    """int64: `count_E` in micro-turns in which the model speaks; windows of silence are all routed alike."""
    margin: torch.Tensor
    """fp64: sum over tokens of the gap in score, with bias, between the last chosen expert and the next."""


class Router(nn.Module):
    """Sigmoid scores in fp32; an untrained bias takes part in the choice, not in the weights."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.weight = parameter(config.experts, config.width)
        self.top_k = config.top_k
        self.route_scale = config.route_scale
        self.register_buffer("bias_E", torch.zeros(config.experts, dtype=torch.float32))

    bias_E: torch.Tensor

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        """Casting the model must not round the bias, which moves in steps of a thousandth, or narrow the
        weights: between two nearly equal experts the choice could differ from training's."""
        bias_E, weight = self.bias_E, self.weight.detach()
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if self.bias_E.dtype != bias_E.dtype:
            self.bias_E = bias_E.to(self.bias_E.device)
        if self.weight.dtype.itemsize < 4 <= weight.dtype.itemsize:
            self.weight.data = weight.to(self.weight.device, torch.float32)
        return self

    def forward(self, x_TD: torch.Tensor, valid_T: torch.Tensor) -> Routes:
        # Rounded like all weights and summed in fp32, so that near ties break alike in one process and many.
        weight_ED = self.weight.to(x_TD.dtype)
        logit_TE = linear(x_TD, weight_ED, torch.promote_types(x_TD.dtype, torch.float32))
        score_TE = pointwise(torch.sigmoid, logit_TE)
        choice_TK = (score_TE.detach() + self.bias_E).topk(self.top_k, -1).indices
        chosen_TK = _chosen(score_TE, choice_TK)
        weight_TK = chosen_TK / (chosen_TK.sum(-1, keepdim=True) + 1e-20) * self.route_scale
        return Routes(choice_TK, weight_TK.masked_fill(~valid_T[:, None], 0), score_TE, logit_TE)


def _chosen(score_TE: torch.Tensor, choice_TK: torch.Tensor) -> torch.Tensor:
    """`gather` as a sum over experts: its backward is pointwise, while that of `gather` sorts on a GPU."""
    hot_TKE = choice_TK[..., None] == torch.arange(score_TE.shape[1], device=score_TE.device)
    return torch.where(hot_TKE, score_TE[:, None], 0).sum(-1)


def router_stats(
    routes: Routes, valid_BL: torch.Tensor, spoken_BL: torch.Tensor, bias_E: torch.Tensor
) -> RouterStats:
    """Statistics of a batch. Balance of a row: the sum over experts of choices' share x E x mean score."""
    rows, length = valid_BL.shape
    experts, k = routes.score_TE.shape[1], routes.choice_TK.shape[1]
    valid_BL1 = valid_BL[:, :, None]
    kinds = torch.arange(experts, device=valid_BL.device)
    choice = routes.choice_TK.view(rows, length, k, 1) == kinds
    chosen_BLE = choice.any(2) & valid_BL1
    # Per row, so that a row of silence cannot balance a row of speech.
    chosen_BE = chosen_BLE.sum(1)
    # Scores are sigmoids: normalise them to shares, as softmax scores would be.
    share_TE = routes.score_TE / (routes.score_TE.sum(-1, keepdim=True) + 1e-20)
    share_BE = share_TE.view(rows, length, experts).masked_fill(~valid_BL1, 0).sum(1)
    tokens_B1 = valid_BL.sum(1, keepdim=True).clamp_min(1)
    balance = (chosen_BE * (experts / k) / tokens_B1 * share_BE).sum()
    z_T = routes.logit_TE.logsumexp(-1).square().masked_fill(~valid_BL.reshape(-1), 0)
    return RouterStats(
        count_E=chosen_BE.sum(0),
        balance=balance,
        router_z=z_T.sum(),
        spoken_E=(chosen_BLE & spoken_BL[:, :, None]).sum((0, 1)),
        margin=_margin(routes.score_TE.detach() + bias_E, chosen_BLE.flatten(0, 1), k),
    )


def _margin(score_TE: torch.Tensor, chosen_TE: torch.Tensor, k: int) -> torch.Tensor:
    """The sum of margins. Padding has no choice and counts 0; where all experts are chosen, it is 0."""
    if k == score_TE.shape[1]:
        return score_TE.new_zeros((), dtype=torch.float64)
    # The weakest chosen against the strongest rejected.
    last_T = score_TE.masked_fill(~chosen_TE, torch.inf).amin(1)
    next_T = score_TE.masked_fill(chosen_TE, -torch.inf).amax(1)
    return (last_T - next_T).masked_fill(~chosen_TE.any(1), 0).sum(dtype=torch.float64)
