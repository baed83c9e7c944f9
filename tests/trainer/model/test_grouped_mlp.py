"""The experts' hand-written backward: its gradients, what it keeps, fp32 masters under bf16."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F

from corpus.trainer.model.grouped_mlp import apply_experts, grouped, grouped_outer
from corpus.trainer.model.permute import Order, sort_by_expert

GPU = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")]
DEVICES = ["cpu", pytest.param("cuda", marks=GPU)]


@pytest.fixture
def poison() -> Iterator[None]:
    """Memory that is not set reads as NaN."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(False)


Leaves = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


def leaves(tokens: int, dtype: torch.dtype, masters: torch.dtype, device: str = "cpu") -> Leaves:
    """x (tokens, 16), weights of 2 experts a token, and gate_up and down of 4 experts of width 8."""
    random = torch.Generator().manual_seed(tokens)
    wide = torch.float64 if dtype == torch.float64 else torch.float32

    def leaf(kind: torch.dtype, *shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=random).to(device, kind).requires_grad_()

    return leaf(dtype, tokens, 16), leaf(wide, tokens, 2), leaf(masters, 4, 16, 16), leaf(masters, 4, 16, 8)


def order_of(choice: torch.Tensor, valid: torch.Tensor) -> Order:
    order = sort_by_expert(choice, valid, 4)
    end_E = order.end_E.clone()
    end_E[-1] = choice.numel()
    return order._replace(end_E=end_E)


def choice_of(tokens: int) -> torch.Tensor:
    """Two experts a token; expert 2 has none."""
    random = torch.Generator().manual_seed(5)
    score = torch.rand(tokens, 4, generator=random)
    score[:, 2] = -1
    return score.topk(2, -1).indices


def test_gradients_by_differences_in_fp64() -> None:
    x, weight, gate_up, down = leaves(5, torch.float64, torch.float64)
    valid = torch.tensor([True, True, False, True, True])
    order = order_of(choice_of(5), valid)
    weight = weight.detach().masked_fill(~valid[:, None], 0).requires_grad_()

    def function(*inputs: torch.Tensor) -> torch.Tensor:
        return apply_experts(*inputs, order)

    assert torch.autograd.gradcheck(function, (x, weight, gate_up, down))


def by_autograd(inputs: Leaves, choice: torch.Tensor) -> torch.Tensor:
    """The same sum in plain operations: every chosen expert's matrices gathered for every token."""
    x, weight, gate_up, down = inputs
    gate, up = torch.einsum("tkfd,td->tkf", gate_up[choice], x).chunk(2, -1)
    return torch.einsum("tkdf,tkf,tk->td", down[choice], F.silu(gate) * up, weight)


@pytest.mark.usefixtures("poison")
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 3e-2)])
def test_masters_in_fp32_get_gradients_in_fp32(device: str, dtype: torch.dtype, tolerance: float) -> None:
    """Against autograd in fp64, where memory that is not set reads as NaN; empty experts get exactly 0."""
    if device == "cuda" and dtype == torch.float32:
        pytest.skip("F.grouped_mm is bf16 on GPUs")
    tokens = 37
    choice = choice_of(tokens)
    inputs = leaves(tokens, dtype, torch.float32, device)
    order = Order(*(part.to(device) for part in order_of(choice, torch.ones(tokens, dtype=torch.bool))))
    y = apply_experts(*inputs, order)
    shape = torch.linspace(-1, 2, y.numel(), dtype=torch.float64).view(y.shape)
    found = torch.autograd.grad((y * shape.to(y)).sum(), inputs)
    exact = leaves(tokens, dtype, torch.float32)
    exact = tuple(leaf.detach().double().requires_grad_() for leaf in exact)  # type: ignore[assignment]
    expected = torch.autograd.grad((by_autograd(exact, choice) * shape).sum(), exact)
    for mine, theirs, given in zip(found, expected, inputs, strict=True):
        assert mine.dtype == given.dtype and bool(mine.isfinite().all())
        assert float((mine.cpu().double() - theirs).norm() / theirs.norm()) < tolerance
    assert not found[2][2].any() and not found[3][2].any()


@pytest.mark.usefixtures("poison")
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("sizes", [[3, 0, 5], [0, 0, 8], [8, 0, 0], [1, 7, 0]])
def test_grouped_products_equal_loops(device: str, dtype: torch.dtype, sizes: list[int]) -> None:
    if device == "cuda" and dtype == torch.float32:
        pytest.skip("F.grouped_mm is bf16 on GPUs")
    random = torch.Generator().manual_seed(0)
    rows = torch.randn(8, 16, generator=random).to(device, dtype)
    right = torch.randn(8, 24, generator=random).to(device, dtype)
    weight = torch.randn(3, 16, 24, generator=random).to(device, dtype)
    end = torch.tensor(sizes, device=device).cumsum(0)
    exact = [part.double() for part in (rows, right, weight)]
    product, outer = grouped(rows, weight, end), grouped_outer(rows, right, end)
    turned = grouped(right, weight.mT, end)
    for mine, theirs in (
        (product, grouped(exact[0], exact[2], end)),
        (turned, grouped(exact[1], exact[2].mT, end)),
        (outer, grouped_outer(exact[0], exact[1], end)),
    ):
        assert mine.shape == theirs.shape and bool(mine.isfinite().all())
        error = float((mine.double() - theirs).norm() / theirs.norm())
        assert error < (1e-5 if dtype == torch.float32 else 1e-2)
    for expert, size in enumerate(sizes):
        assert size or not outer[expert].any()


def test_rows_and_activations_are_not_kept() -> None:
    """Only x, the router's weights, the order, and gate and up; of bf16 weights no copy."""
    inputs = leaves(64, torch.bfloat16, torch.float32)
    order = order_of(choice_of(64), torch.ones(64, dtype=torch.bool))
    kept: list[torch.Tensor] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        apply_experts(*inputs, order)
    given = {tensor.data_ptr() for tensor in (*inputs, *order)}
    made = [tensor for tensor in kept if tensor.data_ptr() not in given]
    assert [(tensor.shape, tensor.dtype) for tensor in made] == [((128, 16), torch.bfloat16)]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_compiled_whole_it_is_the_same() -> None:
    inputs = leaves(40, torch.bfloat16, torch.float32)
    order = order_of(choice_of(40), torch.ones(40, dtype=torch.bool))

    def outcome(function: object) -> list[torch.Tensor]:
        assert callable(function)
        y = function(*inputs, order)
        return [y.detach(), *torch.autograd.grad((y * y.detach()).sum(), inputs)]

    torch._dynamo.reset()
    compiled = torch.compile(apply_experts, fullgraph=True, dynamic=False)
    for mine, theirs in zip(outcome(compiled), outcome(apply_experts), strict=True):
        assert mine.dtype == theirs.dtype
        assert float((mine.double() - theirs.double()).norm() / theirs.double().norm()) < 2e-2
