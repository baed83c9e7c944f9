"""Put rows into the order of their experts and back, without atomics.

# T tokens, D width, E experts, K of them a token, N = T K rows

A permutation and its inverse are each other's backward, so no gradient is scattered. A fast path for plain
indexing; tests/trainer/model/test_moe.py compares the gradients. Its gain on a GPU is not measured.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch


class Order(NamedTuple):
    """Rows sorted by expert, stable."""

    order_N: torch.Tensor
    """Sorted row n is row order_N[n] of (T, K)."""
    inverse_N: torch.Tensor
    end_E: torch.Tensor
    """Where each expert's rows end; padding lies after the last."""


def sort_by_expert(choice_TK: torch.Tensor, valid_T: torch.Tensor, experts: int) -> Order:
    # A GPU's radix sort takes eight bits a pass: keep keys short. Padding sorts behind the last expert.
    expert_N = choice_TK.masked_fill(~valid_T[:, None], experts).reshape(-1).to(torch.int16)
    sorted_N, order_N = expert_N.sort(stable=True)
    wanted = torch.arange(experts, dtype=torch.int16, device=sorted_N.device)
    end_E = torch.searchsorted(sorted_N, wanted, right=True)
    # The argsort of a permutation is its inverse.
    return Order(order_N, order_N.to(torch.int32).argsort(), end_E)


def counts(end_E: torch.Tensor) -> torch.Tensor:
    return torch.diff(end_E, prepend=end_E.new_zeros(1))


def gather_rows(x_TD: torch.Tensor, order_N: torch.Tensor, k: int) -> torch.Tensor:
    """(T, D) to (T K, D) in expert order; for use inside a Function."""
    # Row n of the K copies belongs to token n // K, so the copies need not be made.
    return x_TD[order_N // k]


def sum_rows(y_ND: torch.Tensor, inverse_N: torch.Tensor, k: int) -> torch.Tensor:
    """(T K, D) in expert order to the sum over K, (T, D); for use inside a Function."""
    if k == 1:
        return y_ND[inverse_N]
    return y_ND[inverse_N].view(-1, k, y_ND.shape[-1]).sum(1)


class _Permute(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_TD: torch.Tensor, order_N: torch.Tensor, inverse_N: torch.Tensor, k: int) -> Any:
        ctx.save_for_backward(order_N, inverse_N)
        ctx.k = k
        return gather_rows(x_TD, order_N, k)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        order_N, inverse_N = ctx.saved_tensors
        return unpermute(grads[0], order_N, inverse_N, ctx.k), None, None, None


class _Unpermute(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, y_ND: torch.Tensor, order_N: torch.Tensor, inverse_N: torch.Tensor, k: int) -> Any:
        ctx.save_for_backward(order_N, inverse_N)
        ctx.k = k
        return sum_rows(y_ND, inverse_N, k)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        order_N, inverse_N = ctx.saved_tensors
        return permute(grads[0], order_N, inverse_N, ctx.k), None, None, None


def permute(x_TD: torch.Tensor, order_N: torch.Tensor, inverse_N: torch.Tensor, k: int) -> torch.Tensor:
    """(T, D) to (T K, D) in expert order; its backward gathers and sums over K."""
    rows_ND: torch.Tensor = _Permute.apply(x_TD, order_N, inverse_N, k)  # type: ignore[no-untyped-call]
    return rows_ND


def unpermute(y_ND: torch.Tensor, order_N: torch.Tensor, inverse_N: torch.Tensor, k: int) -> torch.Tensor:
    """(T K, D) in expert order to the sum over K, (T, D); its backward gathers."""
    y_TD: torch.Tensor = _Unpermute.apply(y_ND, order_N, inverse_N, k)  # type: ignore[no-untyped-call]
    return y_TD
