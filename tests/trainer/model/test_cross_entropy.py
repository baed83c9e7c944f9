from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from corpus.trainer.model.cross_entropy import chunk_rows, cross_entropy_each, cross_entropy_sum


def inputs(count: int, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(0)
    hidden = torch.randn(count, 12, dtype=dtype, generator=random, requires_grad=True)
    table = torch.randn(31, 12, dtype=dtype, generator=random, requires_grad=True)
    target = torch.randint(0, 31, (count,), generator=random)
    return hidden, table, target, torch.rand(count, generator=random)


@pytest.mark.parametrize("count", [1, 5, 20])
@pytest.mark.parametrize("rows", [1, 7, 100])
def test_chunks_equal_the_whole_with_gradients(count: int, rows: int) -> None:
    hidden, table, target, weight = inputs(count, torch.float64)
    ours = 3 * cross_entropy_sum(hidden, table, target, weight, rows)[0]
    nats = F.cross_entropy(hidden @ table.T, target, reduction="none")
    whole = 3 * (nats * weight.double()).sum()
    assert torch.allclose(ours, whole, atol=1e-12)
    grads = zip(
        torch.autograd.grad(ours, (hidden, table)), torch.autograd.grad(whole, (hidden, table)), strict=True
    )
    assert all(torch.allclose(mine, theirs, atol=1e-12) for mine, theirs in grads)
    assert torch.allclose(cross_entropy_each(hidden, table, target), nats.detach(), atol=1e-12)


def test_nothing_to_predict_is_a_loss_of_zero_with_gradients() -> None:
    hidden, table, target, weight = inputs(0, torch.float32)
    loss = cross_entropy_sum(hidden, table, target, weight)[0]
    loss.backward()
    assert float(loss.detach()) == 0 and table.grad is not None and not table.grad.any()


def test_half_precision_sums_in_single() -> None:
    hidden, table, target, weight = inputs(20, torch.float32)
    loss = cross_entropy_sum(hidden.bfloat16(), table, target, weight)[0]
    assert loss.dtype == torch.float32
    exact = cross_entropy_sum(hidden, table, target, weight)[0]
    assert float((loss - exact).detach().abs()) < 0.02 * float(exact.detach())


def test_logits_held_are_bounded() -> None:
    for vocab in (512, 65_536, 200_064):
        assert 4 * chunk_rows(vocab) * vocab < 0.6e9
