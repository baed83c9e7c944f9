from __future__ import annotations

import math

import torch

from corpus.trainer.model.rope import rotate, turns

C, THETA = 16, 1e6


def turned(x_C: torch.Tensor, place: tuple[int, int, int]) -> torch.Tensor:
    where = torch.tensor(place, dtype=torch.int32).view(3, 1, 1)
    return rotate(x_C.view(1, 1, 1, C), *turns(where, C, THETA)).flatten()


def test_half_the_pairs_turn_by_time_a_quarter_each_by_row_and_column() -> None:
    x = torch.ones(C, dtype=torch.float64)
    for axis, pairs in enumerate([range(4), range(4, 6), range(6, 8)]):
        place = [0, 0, 0]
        place[axis] = 3
        out = turned(x, (place[0], place[1], place[2]))
        moved = {i % 8 for i in range(C) if out[i] != 1}
        assert moved == set(pairs)
        first = pairs[0]
        assert math.isclose(out[first], math.cos(3) - math.sin(3), abs_tol=1e-6)


def test_products_depend_on_differences_only() -> None:
    q, k = torch.randn(2, C, generator=torch.Generator().manual_seed(0))
    near = turned(q, (5, 2, 1)) @ turned(k, (3, 1, 0))
    far = turned(q, (8005, 2, 1)) @ turned(k, (8003, 1, 0))
    assert torch.isclose(near, far, atol=2e-2 * float(q.norm() * k.norm()))
    assert torch.isclose(turned(q, (9, 9, 9)).norm(), q.norm())


def test_bf16_keeps_late_positions_apart() -> None:
    """In bf16, 8000 and 8001 would be the same number."""
    x = torch.ones(C, dtype=torch.bfloat16)
    late, later = turned(x, (8000, 0, 0)), turned(x, (8001, 0, 0))
    assert late.dtype == torch.bfloat16
    assert (late - later).abs().max() > 0.5
