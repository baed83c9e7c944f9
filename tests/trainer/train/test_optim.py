from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from corpus.trainer.config import OptimConfig
from corpus.trainer.model.model import InteractionModel
from corpus.trainer.presets import MODELS
from corpus.trainer.train import optim
from corpus.trainer.train.gradient_norms import scale_gradients, squares
from corpus.trainer.train.optim import (
    Average,
    Optimizer,
    decays,
    orthogonal,
    uses_muon,
)

Slow = Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]


class Toy(nn.Module):
    """The names and shapes an optimiser has to tell apart."""

    def __init__(self) -> None:
        super().__init__()
        self.register_parameter("embed", None)
        block = nn.Module()
        block.matrix = nn.Parameter(torch.randn(12, 8))
        block.twin = nn.Parameter(torch.randn(12, 8))
        block.experts = nn.Parameter(torch.randn(3, 6, 10))
        block.norm = nn.Parameter(torch.ones(8))
        self.blocks = nn.ModuleList([block])
        self.head = nn.Parameter(torch.randn(5, 8))


@pytest.fixture
def toy() -> Toy:
    torch.manual_seed(1)
    made = Toy()
    for parameter in made.parameters():
        parameter.grad = torch.randn_like(parameter)
    return made


def test_orthogonal_brings_singular_values_near_one() -> None:
    torch.manual_seed(0)
    for shape in ((32, 32), (64, 16), (16, 64), (5, 24, 40)):
        values = torch.linalg.svdvals(orthogonal(torch.randn(shape)))
        assert values.min() > 0.7 and values.max() < 1.25, shape


def test_orthogonal_keeps_the_singular_vectors() -> None:
    torch.manual_seed(0)
    matrix = torch.randn(24, 16)
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    inner = u.T @ orthogonal(matrix) @ v.T
    assert (inner - torch.diag(inner.diag())).abs().max() < 1e-4


def test_orthogonal_of_zeros_and_of_batches_one_by_one() -> None:
    torch.manual_seed(0)
    batch = torch.randn(4, 8, 12)
    batch[2] = 0
    each = torch.stack([orthogonal(matrix) for matrix in batch])
    torch.testing.assert_close(orthogonal(batch), each, atol=1e-5, rtol=1e-5)
    assert not orthogonal(batch)[2].any()


def slow_muon(start: torch.Tensor, grads: list[torch.Tensor], config: OptimConfig) -> torch.Tensor:
    """One matrix after the other, as the method is written down, in fp64."""
    value, momentum = start.double(), torch.zeros_like(start).double()
    for grad in grads:
        momentum = 0.95 * momentum + 0.05 * grad.double()
        update = 0.05 * grad.double() + 0.95 * momentum
        matrices = update[None] if update.ndim == 2 else update
        made = []
        for matrix in matrices:
            flat = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
            x = flat / (flat.norm() * 1.02 + 1e-6)
            for a, b, c in COEFFICIENTS:
                x = a * x + b * (x @ x.T) @ x + c * (x @ x.T) @ (x @ x.T) @ x
            made.append(x if matrix.shape[0] <= matrix.shape[1] else x.T)
        whole = torch.stack(made).reshape(update.shape)
        rows, columns = update.shape[-2:]
        value = value * (1 - config.muon_lr * config.weight_decay)
        value = value - config.muon_lr * max(1.0, rows / columns) ** 0.5 * whole
    return value


COEFFICIENTS = (
    (8.156554524902461, -22.48329292557795, 15.878769915207462),
    (4.042929935166739, -2.808917465908714, 0.5000178451051316),
    (3.8916678022926607, -2.772484153217685, 0.5060648178503393),
    (3.285753657755655, -2.3681294933425376, 0.46449024233003106),
    (2.3465413258596377, -1.7097828382687081, 0.42323551169305323),
)


def test_muon_is_the_slow_reference(toy: Toy) -> None:
    config = OptimConfig(optimizer="muon", muon_lr=0.05)
    optimizer = Optimizer(toy.named_parameters(), config)
    names = ("blocks.0.matrix", "blocks.0.twin", "blocks.0.experts")
    parameters = dict(toy.named_parameters())
    start = {name: parameters[name].detach().clone() for name in names}
    seen: dict[str, list[torch.Tensor]] = {name: [] for name in names}
    for _ in range(3):
        for name, parameter in parameters.items():
            parameter.grad = torch.randn_like(parameter)
            if name in seen:
                seen[name].append(parameter.grad.clone())
        optimizer.step(1.0)
    for name in names:
        expected = slow_muon(start[name], seen[name], config).float()
        torch.testing.assert_close(parameters[name].detach(), expected, atol=1e-5, rtol=1e-5)


class Peak(TorchDispatchMode):
    """The most bytes that tensors made inside it hold at once."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self._seen: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        given = {
            each.untyped_storage()._cdata for each in tree_leaves(args) if isinstance(each, torch.Tensor)
        }
        for each in tree_leaves(result):
            if isinstance(each, torch.Tensor):
                self._hold(each.untyped_storage(), given)
        return result

    def _hold(self, storage: torch.UntypedStorage, given: set[int]) -> None:
        if storage._cdata in given or storage._cdata in self._seen:
            return
        self._seen.add(storage._cdata)
        self.now += storage.nbytes()
        self.most = max(self.most, self.now)
        weakref.finalize(storage, self._free, storage._cdata, storage.nbytes())

    def _free(self, key: int, size: int) -> None:
        self._seen.discard(key)
        self.now -= size


def _deep(layers: int) -> tuple[Optimizer, dict[str, nn.Parameter]]:
    """So many layers, each with packed experts and a matrix of the same size."""
    torch.manual_seed(0)
    made = {}
    for layer in range(layers):
        for name, shape in (("experts", (8, 24, 32)), ("matrix", (64, 96))):
            parameter = made[f"blocks.{layer}.{name}"] = nn.Parameter(torch.randn(shape))
            parameter.grad = torch.randn(shape)
    return Optimizer(made.items(), OptimConfig(optimizer="muon")), made


def test_muon_takes_as_much_memory_for_many_layers_as_for_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optim, "TOGETHER", 64 * 96)
    peaks = []
    for layers in (1, 8):
        optimizer, _ = _deep(layers)
        with Peak() as peak:
            optimizer.step(1.0)
        peaks.append(peak.most)
    assert 64 * 96 * 4 < peaks[0] == peaks[1]


def test_muon_in_parts_is_muon_in_one_go_bit_for_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for together in (1, 2 * 64 * 96, 1 << 26):
        monkeypatch.setattr(optim, "TOGETHER", together)
        optimizer, parameters = _deep(5)
        optimizer.step(1.0)
        found.append([parameter.detach() for parameter in parameters.values()])
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


def test_muon_takes_hidden_matrices_and_adamw_the_rest() -> None:
    model = InteractionModel(MODELS["tiny"])
    muon = {name for name, value in model.named_parameters() if uses_muon(name, value)}
    assert "blocks.1.feed.experts.gate_up" in muon and "blocks.0.attention.query" in muon
    for name in (
        "embed.text",
        "audio_head.weight",
        "blocks.1.feed.router.weight",
        "blocks.0.attention.norm.weight",
    ):
        assert name not in muon and name in dict(model.named_parameters())


def test_only_matrices_decay() -> None:
    config = OptimConfig(lr=0.1, weight_decay=0.5)
    model = InteractionModel(MODELS["tiny"])
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    Optimizer(model.named_parameters(), config).step(1.0)
    for name, value in model.named_parameters():
        factor = 0.95 if decays(name, value) else 1.0
        torch.testing.assert_close(value.detach(), before[name] * factor, msg=name)
    assert not decays("embed.text", model.embed.text) and not decays("norm.weight", model.norm.weight)


def test_adamw_is_the_written_down_formula(toy: Toy) -> None:
    config = OptimConfig(lr=0.01, weight_decay=0.0)
    start = toy.head.detach().double()
    first = torch.zeros_like(start)
    second = torch.zeros_like(start)
    optimizer = Optimizer(toy.named_parameters(), config)
    for step in (1, 2, 3):
        grad = torch.randn_like(toy.head)
        toy.head.grad = grad.clone()
        optimizer.step(0.5)
        first = 0.9 * first + 0.1 * grad.double()
        second = 0.95 * second + 0.05 * grad.double() ** 2
        scaled = (second / (1 - 0.95**step)).sqrt() + 1e-8
        start = start - 0.5 * 0.01 * first / (1 - 0.9**step) / scaled
    torch.testing.assert_close(toy.head.detach().double(), start, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_state_goes_into_another_optimiser(toy: Toy, kind: str) -> None:
    config = OptimConfig(optimizer=kind)  # type: ignore[arg-type]
    optimizer = Optimizer(toy.named_parameters(), config)
    optimizer.step(1.0)
    twin = Toy()
    twin.load_state_dict(toy.state_dict())
    other = Optimizer(twin.named_parameters(), config)
    for name, value in other.state_dict().items():
        value.copy_(optimizer.state_dict()[name])
    other.loaded()
    for mine, theirs in zip(toy.parameters(), twin.parameters(), strict=True):
        mine.grad = torch.randn_like(mine)
        theirs.grad = mine.grad.clone()
    optimizer.step(0.3)
    other.step(0.3)
    for mine, theirs in zip(toy.parameters(), twin.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_norm_and_scaling_of_all_gradients(toy: Toy) -> None:
    whole = torch.cat([p.grad.flatten() for p in toy.parameters() if p.grad is not None]).double()
    assert squares(toy.parameters()).sqrt().item() == pytest.approx(whole.norm().item(), rel=1e-6)
    scale_gradients(toy.parameters(), 0.25)
    assert squares(toy.parameters()).sqrt().item() == pytest.approx(whole.norm().item() / 4, rel=1e-6)
    assert toy.head.grad is not None
    toy.head.grad[0, 0] = torch.nan
    assert not squares(toy.parameters()).isfinite()


def test_average_follows_slowly(toy: Toy) -> None:
    average = Average(toy.named_parameters(), 0.75)
    before = toy.head.detach().clone()
    with torch.no_grad():
        toy.head += 4.0
    average.update()
    torch.testing.assert_close(average.state_dict()["head"], before + 1.0)
