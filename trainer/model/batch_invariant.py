"""Arithmetic in which a position's result does not depend on what is computed beside it.

    with batch_invariant():
        ...

A matrix product adds up in an order that depends on its number of rows, so a session, which reads a window at
a time, and a pass over whole rows differ in the last bits. In this mode every position is multiplied alone,
attends only to the keys it sees, in the order of their positions, and every expert is computed. On a CPU with
one thread the results are then equal bit for bit. It works only without gradients and is slow: its purpose is
to tell rounding from error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
import torch.nn.functional as F

_LANES = 64
"""Rows are padded to a multiple of this many numbers, more than any processor's vector holds."""
_ON = ContextVar("batch_invariant", default=False)


@contextmanager
def batch_invariant(on: bool = True) -> Iterator[None]:
    """Compute this way in this thread while it is open; with `on` false, compute as usual."""
    before = _ON.set(on)
    try:
        with torch.no_grad():
            yield
    finally:
        _ON.reset(before)


def is_batch_invariant() -> bool:
    # The compiler cannot read a context variable, and compiled blocks are only for training.
    return not torch.compiler.is_compiling() and _ON.get()


def pointwise(function: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """Apply a function of single numbers. Numbers that do not fill a processor's vector are computed by other
    code, which rounds differently; in this mode every vector is full."""
    short = -x.shape[-1] % _LANES
    if not (is_batch_invariant() and short):
        return function(x)
    return function(F.pad(x, (0, short)))[..., : x.shape[-1]]


def each_linear(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """x @ weight.T, one vector after another."""
    # A product of matrices sums in an order that depends on their shapes; a vector's has one order.
    rows = [F.linear(row.clone()[None], weight) for row in x.reshape(-1, x.shape[-1])]
    products = torch.cat(rows) if rows else x.new_empty(0, len(weight))
    return products.view(*x.shape[:-1], len(weight))


def each_attended(
    query_HLC: torch.Tensor, key_GSC: torch.Tensor, value_GSC: torch.Tensor, seen_LS: torch.Tensor
) -> torch.Tensor:
    """(H, L, C): each query over the keys it sees, in the order of their positions."""
    heads, length, size = query_HLC.shape
    groups = len(key_GSC)
    out_HLC = torch.empty_like(query_HLC)
    for place in range(length):
        # Only the keys it sees: masked ones would change the order of the sum.
        seen_N = seen_LS[place].nonzero()[:, 0]
        query_GNC = query_HLC[:, place].reshape(groups, heads // groups, size).contiguous()
        score_GNS = torch.bmm(query_GNC, key_GSC[:, seen_N].mT.contiguous()) * size**-0.5
        share_GNS = score_GNS.softmax(-1)
        out_HLC[:, place] = torch.bmm(share_GNS, value_GSC[:, seen_N].contiguous()).reshape(heads, size)
    return out_HLC
