"""Cross entropy over a large vocabulary, without ever holding all logits.

A fast path for `F.cross_entropy`; tests/trainer/model/test_cross_entropy.py compares the two, with gradients.
Its gain is memory (all logits of a micro-batch of `base` would be 8 GB); its time on a GPU is not measured.

# N positions, D width, V vocabulary

Gradients are made in the forward pass, a chunk of positions at a time: one product less than recomputing.
The unweighted nats of every position are returned too, for logs.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from corpus.trainer.model.layers import wide

CHUNK_LOGITS = 1 << 27
"""Logits held at once: 0.5 GB in fp32. Each chunk reads and writes the gradient of the whole table."""


def chunk_rows(vocab: int) -> int:
    return max(16, CHUNK_LOGITS // vocab)


class _ChunkedSum(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden_ND: torch.Tensor,
        table_VD: torch.Tensor,
        target_N: torch.Tensor,
        weight_N: torch.Tensor,
        rows: int,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        table = table_VD.to(hidden_ND.dtype)
        need_grad = any(ctx.needs_input_grad[:2])
        d_hidden = torch.empty_like(hidden_ND) if need_grad else None
        # Sums over many chunks in fp32, or small gradients would vanish in half precision.
        d_table = torch.zeros_like(table_VD, dtype=wide(table_VD).dtype) if need_grad else None
        total = wide(hidden_ND).new_zeros(())
        nats_N = total.new_empty(len(hidden_ND))
        for start in range(0, len(hidden_ND), rows):
            part = slice(start, start + rows)
            logit = wide(hidden_ND[part] @ table.T)
            target, weight = target_N[part], weight_N[part].to(logit.dtype)
            # nats = -log softmax at the target, from the log-sum-exp that the gradient needs as well.
            lse = logit.logsumexp(-1)
            nats = lse - logit.gather(1, target[:, None])[:, 0]
            total = total + (nats * weight).sum()
            nats_N[part] = nats
            if d_hidden is None or d_table is None:
                continue
            # The gradient of the logits is softmax minus one-hot.
            slope = (logit - lse[:, None]).exp_()
            slope[torch.arange(len(target), device=target.device), target] -= 1
            slope = (slope * weight[:, None]).to(hidden_ND.dtype)
            d_hidden[part] = slope @ table
            d_table += slope.T @ hidden_ND[part]
        # All gradients are ready: backward only scales them by that of the sum.
        ctx.save_for_backward(d_hidden, d_table)
        ctx.table_dtype = table_VD.dtype
        ctx.mark_non_differentiable(nats_N)
        return total, nats_N

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: torch.Tensor, _: torch.Tensor) -> Any:
        d_hidden, d_table = ctx.saved_tensors
        return (
            (d_hidden * grad).to(d_hidden.dtype),
            (d_table * grad).to(ctx.table_dtype),
            None,
            None,
            None,
        )


def cross_entropy_sum(
    hidden_ND: torch.Tensor,
    table_VD: torch.Tensor,
    target_N: torch.Tensor,
    weight_N: torch.Tensor,
    rows: int | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Weighted sum of nats in fp32 or wider, 0-D, and nats of every position without gradient.

    At most `rows` positions' logits exist at a time.
    """
    rows = rows or chunk_rows(len(table_VD))
    total, nats_N = _ChunkedSum.apply(  # type: ignore[no-untyped-call]
        hidden_ND, table_VD, target_N.long(), weight_N, rows
    )
    return total, nats_N


@torch.no_grad()
def cross_entropy_each(
    hidden_ND: torch.Tensor, table_VD: torch.Tensor, target_N: torch.Tensor
) -> torch.Tensor:
    """Nats of every position (N,), for evaluation."""
    table = table_VD.to(hidden_ND.dtype)
    rows = chunk_rows(len(table_VD))
    parts = zip(torch.split(hidden_ND, rows), torch.split(target_N.long(), rows), strict=True)
    return torch.cat([F.cross_entropy(wide(h @ table.T), t, reduction="none") for h, t in parts])
