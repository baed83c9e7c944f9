"""Training with matrices cast once a step is, bit for bit, training with them cast where they are used."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch

from corpus.trainer.config import LossConfig, ModelConfig
from corpus.trainer.data.sequence import Batch, Positions
from corpus.trainer.model.model import InteractionModel
from corpus.trainer.parallel.compute_copies import ComputeCopies, copied
from corpus.trainer.presets import preset
from corpus.trainer.train.optim import Optimizer

Make = Callable[..., Positions]
Pack = Callable[..., Batch]


@contextmanager
def nothing() -> Iterator[None]:
    yield


def learnt(model: InteractionModel, batches: list[Batch], within: Callable[[], object]) -> list[torch.Tensor]:
    """Gradients of the last of three steps of two micro-batches, and the weights after it."""
    optimizer = Optimizer(list(model.named_parameters()), preset("tiny").optim)
    gradients: list[torch.Tensor] = []
    for _ in range(3):
        optimizer.zero_grad()
        with within():  # type: ignore[attr-defined]
            for batch in batches:
                sums = model(batch, LossConfig())
                sums.total(sums.denominators).backward()
        gradients = [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]
        optimizer.step(1.0)
    return gradients + [parameter.detach() for parameter in model.parameters()]


@pytest.fixture
def batches(tiny: ModelConfig, make_document: Make, pack_rows: Pack) -> list[Batch]:
    return [pack_rows([[make_document(tiny, 12, seed)]], 160, capacity=160) for seed in (0, 1)]


def test_weights_and_gradients_are_those_of_casts_in_every_micro_batch(
    tiny: ModelConfig, batches: list[Batch]
) -> None:
    plain = InteractionModel(tiny)
    plain.compute = torch.bfloat16
    ours = copy.deepcopy(plain)
    names = [name for name, _ in ours.named_parameters()]
    expected = learnt(plain, batches, nothing)
    found = learnt(ours, batches, ComputeCopies(ours).in_place)
    assert len(found) == len(expected)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    assert [name for name, _ in ours.named_parameters()] == names
    assert all(parameter.dtype == torch.float32 for parameter in ours.parameters())


def test_it_copies_the_matrices_of_blocks_but_routers_and_only_where_they_are_wider(
    tiny: ModelConfig,
) -> None:
    model = InteractionModel(tiny)
    assert not list(copied(model))
    model.compute = torch.bfloat16
    found = {id(master) for _, _, master in copied(model)}
    wanted = {
        id(parameter)
        for name, parameter in model.named_parameters()
        if name.startswith("blocks.") and parameter.ndim > 1 and "router" not in name
    }
    assert wanted
    assert found == wanted


def test_masters_are_back_after_an_error(tiny: ModelConfig) -> None:
    model = InteractionModel(tiny)
    model.compute = torch.bfloat16
    before = {name: id(parameter) for name, parameter in model.named_parameters()}
    with pytest.raises(ZeroDivisionError), ComputeCopies(model).in_place():
        assert {name: id(p) for name, p in model.named_parameters()} != before
        raise ZeroDivisionError
    assert {name: id(parameter) for name, parameter in model.named_parameters()} == before
