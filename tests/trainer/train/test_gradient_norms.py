from __future__ import annotations

import torch
from torch import nn

from corpus.trainer.config import ModelConfig
from corpus.trainer.model.model import InteractionModel
from corpus.trainer.train.gradient_norms import GROUPS, Movement, gradient_squares, group_of


def test_groups_of_a_real_model(tiny: ModelConfig) -> None:
    groups: dict[str | None, set[str]] = {}
    for name, _ in InteractionModel(tiny).named_parameters():
        groups.setdefault(group_of(name), set()).add(name)
    assert set(groups) == {*GROUPS, None}
    assert groups["experts"] == {"blocks.1.feed.experts.gate_up", "blocks.1.feed.experts.down"}
    assert groups["router"] == {"blocks.1.feed.router.weight"}
    assert {"embed.text", "embed.stream"} < groups["embeddings"]
    assert all(name.startswith("embed.") for name in groups["embeddings"])


def parts(model: nn.Module, group: str | None) -> list[nn.Parameter]:
    return [p for name, p in model.named_parameters() if group in (None, group_of(name))]


def flat(values: list[torch.Tensor]) -> torch.Tensor:
    return torch.cat([value.detach().flatten().double() for value in values])


def test_gradients_by_group(tiny: ModelConfig) -> None:
    model = InteractionModel(tiny)
    for number, parameter in enumerate(model.parameters()):
        parameter.grad = number * torch.randn_like(parameter) if number % 3 else None
    found = gradient_squares(list(model.named_parameters()))
    for group, square in zip(GROUPS, found, strict=True):
        grads = [p.grad for p in parts(model, group) if p.grad is not None]
        torch.testing.assert_close(square, flat(grads).square().sum(), rtol=1e-4, atol=0)


def test_gradients_of_a_model_without_experts(tiny: ModelConfig) -> None:
    plain = nn.Linear(3, 2)
    plain(torch.ones(1, 3)).sum().backward()
    assert gradient_squares(list(plain.named_parameters())).tolist() == [0, 0, 0]


def test_movement_is_what_changed(tiny: ModelConfig) -> None:
    model = InteractionModel(tiny)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    movement = Movement(model.named_parameters())
    with torch.no_grad():
        for number, parameter in enumerate(model.parameters()):
            parameter.mul_(1 + 0.01 * number)
    steps, sizes = movement.squares()
    for place, group in enumerate((None, *GROUPS)):
        names = [name for name in before if group in (None, group_of(name))]
        old = flat([before[name] for name in names])
        new = flat(parts(model, group))
        torch.testing.assert_close(sizes[place], old.square().sum(), rtol=1e-5, atol=0)
        torch.testing.assert_close(steps[place], (new - old).square().sum(), rtol=1e-4, atol=0)


def test_movement_of_a_large_parameter_is_estimated() -> None:
    torch.manual_seed(0)
    weight = nn.Parameter(torch.randn(1000, 2101))
    movement = Movement([("embed.text", weight)])
    step = 0.1 * torch.randn_like(weight)
    with torch.no_grad():
        weight += step
    steps, sizes = movement.squares()
    torch.testing.assert_close(steps[0], step.double().square().sum(), rtol=0.03, atol=0)
    torch.testing.assert_close(sizes[0], (weight - step).double().square().sum(), rtol=0.03, atol=0)
