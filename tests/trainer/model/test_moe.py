"""The experts against a loop over tokens written for reading; determinism, poison, balance."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F

from corpus.trainer.config import ModelConfig
from corpus.trainer.model.experts import FEW_TOKENS, Experts
from corpus.trainer.model.model import InteractionModel
from corpus.trainer.model.moe import MixtureOfExperts
from corpus.trainer.model.permute import Order, permute, sort_by_expert, unpermute
from corpus.trainer.model.router import Router, Routes, router_stats

PATTERNS = ["even", "some empty", "all to the first", "all to the last", "one token", "padding"]


def experts_of(tiny: ModelConfig, experts: int, top_k: int, dtype: torch.dtype) -> Experts:
    module = Experts(dataclasses.replace(tiny, experts=experts, top_k=top_k, width=32, expert_width=24))
    random = torch.Generator().manual_seed(experts)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(0, 0.2, generator=random)
    return module.to(dtype)


def case(pattern: str, experts: int, k: int, dtype: torch.dtype) -> tuple[torch.Tensor, Routes, torch.Tensor]:
    """Tokens, routes and which tokens are valid. In place of the logits the routes hold the weights' leaf."""
    random = torch.Generator().manual_seed(k)
    tokens = 1 if pattern == "one token" else 37
    score = torch.rand(tokens, experts, generator=random, dtype=torch.float64)
    if pattern == "some empty":
        score[:, 1 : 1 + experts - k] -= 2
    if pattern == "all to the first":
        score[:, :k] += 2
    if pattern == "all to the last":
        score[:, experts - k :] += 2
    valid = torch.ones(tokens, dtype=torch.bool)
    if pattern == "padding":
        valid[5:9] = False
        valid[-3:] = False
    weight, choice = score.topk(k, -1)
    weight = weight / weight.sum(-1, keepdim=True)
    x = torch.randn(tokens, 32, generator=random, dtype=torch.float64)
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    weight = weight.to(wide).requires_grad_()
    routes = Routes(choice, weight.masked_fill(~valid[:, None], 0), score, weight)
    return x.to(dtype).requires_grad_(), routes, valid


def by_token(module: Experts, x_TD: torch.Tensor, routes: Routes, valid: torch.Tensor) -> torch.Tensor:
    """The oracle: one token, one expert at a time."""
    rows = []
    for token in range(len(x_TD)):
        total = torch.zeros_like(x_TD[token])
        for slot, expert in enumerate(routes.choice_TK[token].tolist()):
            if valid[token]:
                gate, up = (module.gate_up[expert] @ x_TD[token]).chunk(2)
                total = total + module.down[expert] @ (F.silu(gate) * up) * routes.weight_TK[token, slot]
        rows.append(total)
    return torch.stack(rows)


def outcome(y: torch.Tensor, x: torch.Tensor, routes: Routes, module: Experts) -> list[torch.Tensor]:
    """y and all gradients of an uneven function of it."""
    shape = torch.linspace(-1, 2, y.numel(), dtype=y.dtype).view_as(y)
    leaf = routes.logit_TE
    inputs = [x, leaf, module.gate_up, module.down]
    return [y.detach(), *torch.autograd.grad((y * shape).sum(), inputs, retain_graph=True)]


def path(name: str, module: Experts, x: torch.Tensor, routes: Routes, valid: torch.Tensor) -> torch.Tensor:
    if name == "every expert":
        return module.every_expert(x, routes)
    return module.permuted(x, routes, sort_by_expert(routes.choice_TK, valid, module.count))


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize(("experts", "k"), [(1, 1), (4, 1), (4, 2), (8, 3), (16, 4), (4, 4)])
@pytest.mark.parametrize(
    ("name", "dtype", "tolerance"),
    [
        ("permuted", torch.float32, 1e-5),
        ("permuted", torch.float64, 1e-12),
        ("every expert", torch.float64, 1e-12),
    ],
)
def test_every_path_equals_a_loop_over_tokens(
    tiny: ModelConfig, pattern: str, experts: int, k: int, name: str, dtype: torch.dtype, tolerance: float
) -> None:
    module = experts_of(tiny, experts, k, dtype)
    x, routes, valid = case(pattern, experts, k, dtype)
    ours = outcome(path(name, module, x, routes, valid), x, routes, module)
    oracle = outcome(by_token(module, x, routes, valid), x, routes, module)
    for mine, theirs in zip(ours, oracle, strict=True):
        scale = max(1.0, float(theirs.abs().max()))
        assert float((mine - theirs).abs().max()) <= tolerance * scale


@pytest.mark.parametrize("tokens", [1, FEW_TOKENS])
def test_gathered_weights_equal_the_loop(tiny: ModelConfig, tokens: int) -> None:
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.float64, 1e-12)):
        module = experts_of(tiny, 8, 3, dtype)
        x, routes, valid = case("even", 8, 3, dtype)
        few = routes._replace(choice_TK=routes.choice_TK[:tokens], weight_TK=routes.weight_TK[:tokens])
        with torch.no_grad():
            ours = module.few_tokens(x[:tokens], few)
            assert torch.allclose(ours, by_token(module, x[:tokens], few, valid), atol=tolerance)


def test_an_expert_without_tokens_has_a_gradient_of_exactly_zero(tiny: ModelConfig) -> None:
    module = experts_of(tiny, 4, 2, torch.float32)
    x, routes, valid = case("all to the first", 4, 2, torch.float32)
    _, _, _, d_gate_up, d_down = outcome(path("permuted", module, x, routes, valid), x, routes, module)
    assert not d_gate_up[2:].any() and not d_down[2:].any()
    assert d_gate_up[:2].abs().amin((1, 2)).shape == (2,) and bool(d_gate_up[:2].any())


def order_of(tokens: int, experts: int, k: int) -> Order:
    choice = torch.rand(tokens, experts, generator=torch.Generator().manual_seed(3)).topk(k, -1).indices
    return sort_by_expert(choice, torch.ones(tokens, dtype=torch.bool), experts)


def test_going_by_a_permutation_and_back_have_the_right_gradients() -> None:
    order_N, inverse_N, _ = order_of(7, 4, 2)
    random = torch.Generator().manual_seed(0)
    x = torch.randn(7, 3, dtype=torch.float64, generator=random, requires_grad=True)
    y = torch.randn(14, 3, dtype=torch.float64, generator=random, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a: permute(a, order_N, inverse_N, 2), (x,))
    assert torch.autograd.gradcheck(lambda a: unpermute(a, order_N, inverse_N, 2), (y,))
    assert torch.autograd.gradgradcheck(lambda a: permute(a, order_N, inverse_N, 2), (x,))
    back = unpermute(permute(x, order_N, inverse_N, 2), order_N, inverse_N, 2)
    assert torch.allclose(back, 2 * x)


def test_rows_are_sorted_stably_and_padding_is_in_no_group() -> None:
    choice = torch.tensor([[2, 0], [0, 1], [2, 1], [0, 2]])
    valid = torch.tensor([True, False, True, True])
    order_N, inverse_N, end_E = sort_by_expert(choice, valid, 4)
    assert order_N.tolist() == [1, 6, 5, 0, 4, 7, 2, 3]
    assert end_E.tolist() == [2, 3, 6, 6]
    assert order_N[inverse_N].tolist() == list(range(8))


@pytest.fixture
def poison() -> Iterator[None]:
    """Memory that is not set reads as NaN."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.usefixtures("poison")
@pytest.mark.parametrize("pattern", PATTERNS)
def test_no_unset_memory_is_read(tiny: ModelConfig, pattern: str) -> None:
    for dtype in (torch.float32, torch.bfloat16):
        module = experts_of(tiny, 4, 2, dtype)
        x, routes, valid = case(pattern, 4, 2, dtype)
        for part in outcome(path("permuted", module, x, routes, valid), x, routes, module):
            assert bool(part.isfinite().all())


@pytest.mark.usefixtures("poison")
def test_the_poison_works() -> None:
    """Rows after the last group are NaN here: why the last group is made to end with the last row."""
    rows, weight = torch.ones(8, 8), torch.ones(2, 8, 8)
    out = F.grouped_mm(rows, weight, offs=torch.tensor([2, 4], dtype=torch.int32))
    assert bool(out[:4].isfinite().all())
    assert bool(out[4:].isnan().all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_twice_the_same_bits(tiny: ModelConfig, dtype: torch.dtype) -> None:
    runs = []
    for _ in range(2):
        module = experts_of(tiny, 8, 3, dtype)
        x, routes, valid = case("padding", 8, 3, dtype)
        runs.append(outcome(path("permuted", module, x, routes, valid), x, routes, module))
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))


def test_padding_is_neither_counted_nor_answered_nor_learnt_from(tiny: ModelConfig) -> None:
    mixture = MixtureOfExperts(tiny)
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in mixture.parameters():
            parameter.normal_(0, 0.1, generator=random)
    mixture.shared = None
    x = torch.randn(2, 24, tiny.width, generator=random)
    valid = torch.ones(2, 24, dtype=torch.bool)
    valid[1, 10:] = False
    spoken = torch.arange(24).expand(2, 24) % 3 == 0
    grads = []
    for fill in (1.0, 50.0):
        content = x.masked_fill(~valid[..., None], fill).requires_grad_()
        y, stats = mixture(content, valid, spoken)
        assert int(stats.count_E.sum()) == int(valid.sum()) * tiny.top_k
        assert not y[~valid].any()
        found = torch.autograd.grad(y.square().sum(), [content, *mixture.parameters()])
        assert not found[0][~valid].any()
        grads.append(found[1:])
    for one, other in zip(*grads, strict=True):
        assert torch.allclose(one, other, atol=1e-6)


def test_weights_are_the_scores_normalised_and_the_bias_only_chooses(tiny: ModelConfig) -> None:
    router = Router(dataclasses.replace(tiny, experts=6, top_k=2, route_scale=2.5))
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        router.weight.normal_(0, 0.3, generator=random)
    x, valid = torch.randn(50, tiny.width, generator=random), torch.ones(50, dtype=torch.bool)
    router.bias_E[4] = 10
    routes = router(x, valid)
    assert bool((routes.choice_TK == 4).any(1).all())
    score = torch.sigmoid(x @ router.weight.T)
    picked = score.gather(1, routes.choice_TK)
    expected = 2.5 * picked / picked.sum(1, keepdim=True)
    assert torch.allclose(routes.weight_TK, expected, atol=1e-6)


def test_balance_loss_equals_its_formula(tiny: ModelConfig) -> None:
    router = Router(tiny)
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        router.weight.normal_(0, 0.3, generator=random)
    valid = torch.ones(2, 9, dtype=torch.bool)
    valid[1, 6:] = False
    spoken = torch.arange(9).expand(2, 9) > 4
    bias = torch.tensor([0.3, 0.0, -0.1, 0.05])
    router.bias_E.copy_(bias)
    with torch.no_grad():
        routes = router(torch.randn(18, tiny.width, generator=random), valid.reshape(-1))
    stats = router_stats(routes, valid, spoken, router.bias_E)
    expected = 0.0
    for row in range(2):
        tokens = [row * 9 + n for n in range(9) if valid[row, n]]
        for expert in range(4):
            times = sum(int(expert in routes.choice_TK[t].tolist()) for t in tokens)
            share = sum(float(routes.score_TE[t, expert] / routes.score_TE[t].sum()) for t in tokens)
            expected += 4 / 2 * times / len(tokens) * share
    assert float(stats.balance) == pytest.approx(expected, rel=1e-5)
    chosen = routes.choice_TK[valid.reshape(-1)].flatten()
    assert torch.equal(stats.count_E, torch.bincount(chosen, minlength=4))
    z = [float(routes.logit_TE[t].logsumexp(0)) ** 2 for t in range(18) if valid.reshape(-1)[t]]
    assert float(stats.router_z) == pytest.approx(sum(z), rel=1e-5)
    told = (valid & spoken).reshape(-1)
    assert torch.equal(stats.spoken_E, torch.bincount(routes.choice_TK[told].flatten(), minlength=4))
    ranked = (routes.score_TE + bias).sort(descending=True).values[valid.reshape(-1)]
    assert float(stats.margin) == pytest.approx(float((ranked[:, 1] - ranked[:, 2]).sum()), rel=1e-5)


def test_there_is_no_margin_where_all_experts_are_chosen(tiny: ModelConfig) -> None:
    router = Router(dataclasses.replace(tiny, top_k=4))
    valid = torch.ones(1, 6, dtype=torch.bool)
    with torch.no_grad():
        router.weight.normal_(0, 0.3)
        routes = router(torch.randn(6, tiny.width), valid.reshape(-1))
    assert float(router_stats(routes, valid, valid, router.bias_E).margin) == 0


def test_the_bias_survives_a_cast_of_the_model(tiny: ModelConfig) -> None:
    router = Router(tiny)
    router.bias_E[0] = 0.123456789
    before = router.bias_E.clone()
    assert torch.equal(router.to(torch.bfloat16).double().bias_E, before)
    assert router.bias_E.dtype == torch.float32
    assert "bias_E" in router.state_dict()


def test_no_cast_narrows_a_routers_weights(tiny: ModelConfig) -> None:
    router = Router(tiny)
    torch.nn.init.normal_(router.weight)
    before = router.weight.detach().clone()
    assert torch.equal(router.to(torch.bfloat16).weight, before)
    assert router.double().weight.dtype == torch.float64


def test_bias_steps_balance_a_skewed_router(tiny: ModelConfig) -> None:
    """Scores of experts start up to 0.2 apart; 200 steps of a thousandth bring all loads together."""
    config = dataclasses.replace(tiny, experts=16, top_k=2, layers=1, dense_layers=0)
    model = InteractionModel(config)
    router = next(module for module in model.modules() if isinstance(module, Router))
    random = torch.Generator().manual_seed(0)
    skew = torch.linspace(-0.45, 0.45, 16)
    with torch.no_grad():
        router.weight.normal_(0, 0.12, generator=random)
        router.weight[:, 0] = skew
    valid = torch.ones(2048, dtype=torch.bool)

    def load() -> torch.Tensor:
        x = torch.randn(2048, config.width, generator=random)
        x[:, 0] = 1
        return torch.bincount(router(x, valid).choice_TK.flatten(), minlength=16)

    def unevenness(load_E: torch.Tensor) -> float:
        return float(load_E.max() / load_E.float().mean())

    assert unevenness(load()) > 2
    with torch.no_grad():
        for _ in range(200):
            model.load_NE[0] = load()
            model.update_router_bias()
    assert unevenness(torch.stack([load() for _ in range(8)]).sum(0)) < 1.2
    assert abs(float(router.bias_E.sum())) < 1e-4
    assert not model.load_NE.any()
