"""The mixture layer compared with its parts and with other implementations: products, dense twin, recipes,
routing.

# T tokens, D width, E experts, K of them a token, N = T K rows, F inner width

At the shapes of `base`, operands exceed a GPU's cache many times over; where they would not (few tokens), the
work rotates over the weights of several layers.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from ratio_recipes import ExpertLoop, SeparateProducts
from ratio_report import NEEDS_GPU, Row, interleaved, ratios
from ratio_setting import Setting
from torch import nn

from corpus.trainer.model.moe import Dense, MixtureOfExperts


def filled(module: nn.Module, setting: Setting) -> Any:
    """A module with a model's initial parameters, on the device, in the precision of activations."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(0, 0.02) if parameter.ndim > 1 else parameter.fill_(1)
    return module.to(setting.device, setting.dtype)


def inputs(setting: Setting, *, positions: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """x_BLD that requires a gradient, all valid."""
    shape = (1, positions or setting.positions)
    x_BLD = torch.randn(*shape, setting.model.width, device=setting.device, dtype=setting.dtype)
    return x_BLD.requires_grad_(), torch.ones(shape, dtype=torch.bool, device=setting.device)


class Trained:
    """A layer's forward and backward pass as timed work."""

    def __init__(self, layer: nn.Module, setting: Setting, *, compiled: bool = False) -> None:
        self.x_BLD, self.valid_BL = inputs(setting)
        self.grad = torch.randn_like(self.x_BLD)
        self.layer = layer
        self.call: Any = torch.compile(layer, fullgraph=True, dynamic=False) if compiled else layer

    def __call__(self) -> None:
        y_BLD, _ = self.call(self.x_BLD, self.valid_BL)
        y_BLD.backward(self.grad)
        self.x_BLD.grad = None
        for parameter in self.layer.parameters():
            parameter.grad = None


def peak(setting: Setting) -> Iterator[Row]:
    """The rate of one large product on this GPU now."""
    size = 8192 if setting.gpu else 512
    a, b = (torch.randn(size, size, device=setting.device, dtype=setting.dtype) for _ in range(2))
    taken = interleaved({"product": lambda: a @ b}, setting.device, rounds=setting.rounds)["product"]
    rates = tuple(2 * size**3 / each / 1e12 for each in taken)
    what = f"product of {size} x {size}, {str(setting.dtype)[6:]}"
    yield Row(section="peak", what=what, values=rates, unit=" TFLOP/s", digits=1 if setting.gpu else 3)


def products(setting: Setting) -> Iterator[Row]:
    """Balanced grouped products against one dense product of equally many operations."""
    model, device, dtype = setting.model, setting.device, setting.dtype
    experts, wide, deep = model.experts, 2 * model.expert_width, model.width
    rows = setting.positions * model.top_k // experts * experts
    x = torch.randn(rows, deep, device=device, dtype=dtype)
    grad = torch.randn(rows, wide, device=device, dtype=dtype)
    packed = torch.randn(experts, wide, deep, device=device, dtype=dtype) * 0.02
    one = packed[0].clone()
    ends = torch.arange(1, experts + 1, device=device, dtype=torch.int32) * (rows // experts)
    pairs = {
        "forward": (lambda: x @ one.T, lambda: F.grouped_mm(x, packed.mT, offs=ends)),
        "input's gradient": (lambda: grad @ one, lambda: F.grouped_mm(grad, packed, offs=ends)),
        "weight's gradient": (lambda: grad.T @ x, lambda: F.grouped_mm(grad.mT, x, offs=ends)),
    }
    for name, (dense, grouped) in pairs.items():
        works = {"dense": dense, "grouped": grouped}
        taken = interleaved(works, device, rounds=setting.rounds)
        rate = 2 * rows * wide * deep / min(taken["grouped"]) / 1e12
        yield Row(
            section="products",
            what=f"dense : grouped product, {name}, {rows} x {deep} -> {wide}, {experts} experts",
            bar="0.75 / 0.85",
            values=ratios(taken["dense"], taken["grouped"]),
            note=f"grouped at best {rate:.3g} TFLOP/s",
        )


def checks(setting: Setting) -> Iterator[Row]:
    """Check correctness first: against fp64, with unvisited experts and memory full of NaN."""
    small = replace(setting.model, experts=8, top_k=2)
    layer = filled(MixtureOfExperts(small), setting)
    empty = [1, 7]
    layer.router.bias_E[empty] = -10
    exact = copy.deepcopy(layer).double()
    x_BLD, valid_BL = inputs(setting, positions=512)
    x_exact = x_BLD.detach().double().requires_grad_()
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        for _ in range(2):  # fresh memory is often zero: the second pass finds what the first left
            layer.zero_grad()
            x_BLD.grad = None
            y_BLD, _ = layer(x_BLD, valid_BL)
            y_BLD.square().sum().backward()
    finally:
        torch.use_deterministic_algorithms(before)
    expected, _ = exact(x_exact, valid_BL)
    expected.square().sum().backward()
    found = [x_BLD.grad, *(parameter.grad for parameter in layer.parameters())]
    if not all(grad is not None and bool(grad.isfinite().all()) for grad in found):
        raise ArithmeticError("a gradient is no number where memory was poisoned")
    for parameter in layer.parameters():
        if parameter.ndim == 3 and bool(parameter.grad[empty].any()):
            raise ArithmeticError("an expert nobody visited has a gradient")
    bar = "2e-2" if setting.gpu else "1e-5"
    what = "poisoned memory, two empty experts: median error of a token against fp64"
    yield Row(section="checks", what=f"{what}, output", bar=bar, values=(_error(y_BLD, expected),), digits=6)
    yield Row(
        section="checks",
        what=f"{what}, input's gradient",
        bar=bar,
        values=(_error(x_BLD.grad, x_exact.grad),),
        digits=6,
        note="no NaN in any gradient, exact zeros for the empty experts",
    )


def _error(found: torch.Tensor, expected: torch.Tensor) -> float:
    """The median over tokens: in bf16 a near tie in the router may send a token elsewhere, which is fine."""
    off = (found.double() - expected).norm(dim=-1) / expected.norm(dim=-1)
    return float(off.detach().median())


def layer(setting: Setting) -> Iterator[Row]:
    """Forward and backward of the mixture against a dense feed-forward with as many active operations."""
    model = setting.model
    wide = model.top_k * model.expert_width + model.shared_width
    mixture = filled(MixtureOfExperts(model), setting)
    dense = filled(Dense(replace(model, dense_width=wide)), setting)
    for compiled in (False, True):
        what = f"dense : mixture layer, forward and backward, {setting.positions} positions"
        row = Row(section="layer", what=f"{what}, {_how(compiled)}", bar="0.55 / 0.70")
        if compiled and not setting.gpu:
            yield replace(row, missing=NEEDS_GPU)
            continue
        works = {
            "dense": Trained(dense, setting, compiled=compiled),
            "mixture": Trained(mixture, setting, compiled=compiled),
        }
        taken = interleaved(works, setting.device, rounds=setting.rounds)
        operations = 18 * setting.positions * model.width * wide
        rate = operations / min(taken["mixture"]) / 1e12
        yield replace(
            row,
            values=ratios(taken["dense"], taken["mixture"]),
            note=f"mixture at best {rate:.3g} TFLOP/s",
        )


def _how(compiled: bool) -> str:
    return "compiled" if compiled else "not compiled"


def recipe(setting: Setting) -> Iterator[Row]:
    """The common open recipe with the same weights: first compare results, then time."""
    ours = filled(MixtureOfExperts(setting.model), setting)
    theirs = SeparateProducts(ours)
    error = _agree(ours, theirs, setting)
    for compiled in (False, True):
        what = "separate products, scatter-add : ours, layer forward and backward"
        row = Row(section="recipe", what=f"{what}, {_how(compiled)}", bar="1.0 / 1.25")
        if compiled and not setting.gpu:
            yield replace(row, missing=NEEDS_GPU)
            continue
        works = {
            "theirs": Trained(theirs, setting, compiled=compiled),
            "ours": Trained(ours, setting, compiled=compiled),
        }
        taken = interleaved(works, setting.device, rounds=setting.rounds)
        yield replace(
            row, values=ratios(taken["theirs"], taken["ours"]), note=f"results differ by {error:.1e}"
        )


def loop(setting: Setting) -> Iterator[Row]:
    ours = filled(MixtureOfExperts(setting.model), setting)
    theirs = ExpertLoop(ours)
    error = _agree(ours, theirs, setting)
    works = {"theirs": Trained(theirs, setting), "ours": Trained(ours, setting)}
    taken = interleaved(works, setting.device, rounds=setting.rounds)
    yield Row(
        section="loop",
        what="loop over experts : ours, layer forward and backward, not compiled",
        bar="3 / 6",
        values=ratios(taken["theirs"], taken["ours"]),
        note=f"results differ by {error:.1e}",
    )


@torch.no_grad()
def _agree(ours: nn.Module, theirs: nn.Module, setting: Setting) -> float:
    x_BLD, valid_BL = inputs(setting)
    a, b = (layer(x_BLD, valid_BL)[0].double() for layer in (ours, theirs))
    error = float((a - b).norm() / a.norm())
    if not error < (2e-2 if setting.gpu else 1e-5):
        raise ArithmeticError(f"results differ by {error:.1e}")
    return error


def skew(setting: Setting) -> Iterator[Row]:
    """All tokens visit expert 0, which gets 1/K of the rows, the most that an expert can get."""
    balanced = filled(MixtureOfExperts(setting.model), setting)
    skewed = copy.deepcopy(balanced)
    skewed.router.bias_E[0] = 10
    works = {"skewed": Trained(skewed, setting), "balanced": Trained(balanced, setting)}
    taken = interleaved(works, setting.device, rounds=setting.rounds)
    x_BLD, valid_BL = inputs(setting)
    with torch.no_grad():
        routes = balanced.router(balanced.norm(x_BLD).flatten(0, 1), valid_BL.reshape(-1))
    k, experts = setting.model.top_k, setting.model.experts
    load_E = routes.choice_TK.flatten().bincount(minlength=experts).double()
    yield Row(
        section="skew",
        what=f"every token visits one expert ({1 / k:.0%} of rows, {experts / k:.1f} times its share) : "
        "routing of random weights, layer forward and backward",
        bar="1.3 / 1.1",
        values=ratios(taken["skewed"], taken["balanced"]),
        note=f"random weights: busiest expert {float(load_E.max() / load_E.mean()):.2f} times the mean",
    )


LAYERS = 4
"""Whose weights few tokens go round over: 302 MB each at `base`, so none lies in a cache."""


def few(setting: Setting) -> Iterator[Row]:
    """A few tokens without gradients: gathered weights against grouped products."""
    layers = [filled(MixtureOfExperts(setting.model), setting) for _ in range(LAYERS)]
    for each in layers:
        each.requires_grad_(False)
    for tokens in (1, 4, 8):
        x_BLD, valid_BL = inputs(setting, positions=tokens)
        x_BLD = x_BLD.detach()
        turn = itertools.cycle(layers)

        def gathered(x: Any = x_BLD, valid: Any = valid_BL, turn: Any = turn) -> None:
            with torch.no_grad():
                next(turn)(x, valid)

        def grouped(x: Any = x_BLD, valid: Any = valid_BL, turn: Any = turn) -> None:
            with torch.enable_grad():  # nothing wants one, so none is recorded
                next(turn)(x, valid)

        for recorded in (False, True):
            row = Row(
                section="few",
                what=f"grouped : gathered, {tokens} token(s), {'recorded' if recorded else 'called'}",
                bar="1 / 2",
            )
            if recorded and not setting.gpu:
                yield replace(row, missing=NEEDS_GPU)
                continue
            works = {"grouped": grouped, "gathered": gathered}
            if recorded:
                works = {name: _recorded(work) for name, work in works.items()}
            taken = interleaved(works, setting.device, rounds=setting.rounds)
            micros = 1e6 * min(taken["gathered"]) / (LAYERS if recorded else 1)
            note = f"gathered at best {micros:.0f} us a layer"
            yield replace(row, values=ratios(taken["grouped"], taken["gathered"]), note=note)


def _recorded(work: Any) -> Any:
    """One call per layer, as a CUDA graph."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3 * LAYERS):
            work()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(LAYERS):
            work()
    return graph.replay


SECTIONS = {
    "peak": peak,
    "checks": checks,
    "products": products,
    "layer": layer,
    "recipe": recipe,
    "loop": loop,
    "skew": skew,
    "few": few,
}
