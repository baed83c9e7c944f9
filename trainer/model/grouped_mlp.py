"""The routed experts as one function with a hand-written backward that keeps little memory.

A fast path for `Experts.every_expert`; tests/trainer/model/test_moe.py compares the two, test_grouped_mlp.py
checks the gradients numerically. Bytes kept are measured (benchmarks/RESULTS.md), its time on a GPU is not.

# T tokens, D width, E experts, K of them a token, N = T K rows, F inner width, I and J any widths

    x_TD --order--> rows_ND --gate_up--> both_N2F --silu, x weight--> hidden_NF --down--> y_ND --sum--> y_TD

Kept for backward: x_TD, the order, the router's weights and both_N2F. Rows and hidden are computed again,
with a gather and a pointwise pass but no product. Weights are kept as given, so no bf16 copy of fp32 masters
lives from forward to backward; their gradients come out in the masters' type.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from corpus.trainer.model.layers import swiglu, swiglu_backward, wide
from corpus.trainer.model.permute import Order, counts, gather_rows, sum_rows


def grouped(rows_NI: torch.Tensor, weight_EIJ: torch.Tensor, end_E: torch.Tensor) -> torch.Tensor:
    """(N, J): rows @ weight[e] for each expert's rows; every row must belong to one."""
    weight_EIJ = weight_EIJ.to(rows_NI.dtype)
    if rows_NI.dtype != torch.float64:
        return F.grouped_mm(rows_NI, weight_EIJ, offs=end_E.to(torch.int32))
    parts = zip(torch.split(rows_NI, counts(end_E).tolist()), weight_EIJ, strict=True)
    return torch.cat([part @ weight for part, weight in parts])


def grouped_outer(left_NI: torch.Tensor, right_NJ: torch.Tensor, end_E: torch.Tensor) -> torch.Tensor:
    """(E, I, J): left.T @ right over each expert's rows; zero for an expert without rows."""
    if left_NI.dtype != torch.float64:
        return F.grouped_mm(left_NI.mT, right_NJ, offs=end_E.to(torch.int32))
    sizes = counts(end_E).tolist()
    parts = zip(torch.split(left_NI, sizes), torch.split(right_NJ, sizes), strict=True)
    return torch.stack([left.T @ right for left, right in parts])


class _Apply(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x_TD: torch.Tensor,
        weight_TK: torch.Tensor,
        gate_up: torch.Tensor,
        down: torch.Tensor,
        order_N: torch.Tensor,
        inverse_N: torch.Tensor,
        end_E: torch.Tensor,
    ) -> torch.Tensor:
        k = weight_TK.shape[1]
        both_N2F = grouped(gather_rows(x_TD, order_N, k), gate_up.mT, end_E)
        # The router's weight goes on the hidden vector, before `down`: F wide instead of D.
        weight_N1 = weight_TK.reshape(-1, 1)[order_N]
        hidden_NF = (swiglu(both_N2F) * weight_N1).to(x_TD.dtype)
        y_ND = grouped(hidden_NF, down.mT, end_E)
        ctx.save_for_backward(x_TD, weight_TK, gate_up, down, order_N, inverse_N, end_E, both_N2F)
        return sum_rows(y_ND, inverse_N, k)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_TD: torch.Tensor) -> Any:
        x_TD, weight_TK, gate_up, down, order_N, inverse_N, end_E, both_N2F = ctx.saved_tensors
        k = weight_TK.shape[1]
        weight_N1 = weight_TK.reshape(-1, 1)[order_N]
        # Made again from what was kept: a pointwise pass costs less than its memory.
        plain_NF = swiglu(both_N2F)
        d_y_ND = gather_rows(grad_TD, order_N, k)
        d_down = grouped_outer(d_y_ND, (plain_NF * weight_N1).to(x_TD.dtype), end_E).to(down.dtype)
        d_hidden_NF = grouped(d_y_ND, down, end_E)
        del d_y_ND  # as large as everything that is kept
        # The weight scaled the hidden vector, so its gradient is the dot product of the two.
        d_weight_N = (wide(d_hidden_NF) * plain_NF).sum(-1).to(weight_TK.dtype)
        d_both_N2F = swiglu_backward((d_hidden_NF * weight_N1).to(x_TD.dtype), both_N2F)
        del d_hidden_NF, plain_NF
        d_gate_up = grouped_outer(d_both_N2F, gather_rows(x_TD, order_N, k), end_E).to(gate_up.dtype)
        # Back to token order: each token sums the gradients of its K rows.
        d_x_TD = sum_rows(grouped(d_both_N2F, gate_up, end_E), inverse_N, k)
        return (
            d_x_TD,
            d_weight_N[inverse_N].view_as(weight_TK),
            d_gate_up,
            d_down,
            None,
            None,
            None,
        )


def apply_experts(
    x_TD: torch.Tensor, weight_TK: torch.Tensor, gate_up: torch.Tensor, down: torch.Tensor, order: Order
) -> torch.Tensor:
    """(T, D): the weighted sum of each token's experts. `order.end_E` must end with the last row."""
    y_TD: torch.Tensor = _Apply.apply(  # type: ignore[no-untyped-call]
        x_TD, weight_TK, gate_up, down, *order
    )
    return y_TD
