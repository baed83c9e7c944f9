from __future__ import annotations

import dataclasses
import math
from typing import cast

import pytest
import torch

from corpus.trainer.config import AudioHead, ModelConfig
from corpus.trainer.data.levels import byte_of_level
from corpus.trainer.data.noise import NoiseKey
from corpus.trainer.model.depth_head import DepthHead
from corpus.trainer.model.flow_head import FlowHead
from corpus.trainer.model.heads import DmelHead, choose_levels
from corpus.trainer.model.model import audio_head

HEADS: tuple[AudioHead, ...] = ("dmel", "flow", "depth")


def head_of(config: ModelConfig, name: str, scale: float = 0.1) -> DmelHead | FlowHead | DepthHead:
    head = audio_head(dataclasses.replace(config, audio_head=cast(AudioHead, name)))
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for key, parameter in head.named_parameters():
            if "norm" not in key:
                parameter.normal_(0, scale, generator=random)
    return head


def random_bytes(count: int, seed: int = 1) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 2, 80), generator=random).to(torch.uint8)


@pytest.mark.parametrize("name", HEADS)
def test_a_loss_belongs_to_its_position_alone(tiny: ModelConfig, name: str) -> None:
    head = head_of(tiny, name).double()
    hidden = torch.randn(6, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    target, where = random_bytes(6), torch.arange(6) + 40
    key = NoiseKey(seed=3, step=9)
    losses = head.losses(hidden, target, key, where)
    assert losses.shape == (6,)
    for n in (0, 5):
        one = head.losses(hidden[n : n + 1], target[n : n + 1], key, where[n : n + 1])
        assert torch.allclose(one, losses[n : n + 1], atol=1e-12)


@pytest.mark.parametrize("name", HEADS)
def test_many_positions_at_once_are_each_by_itself(tiny: ModelConfig, name: str) -> None:
    """At temperature 0, where the place in the batch draws no noise."""
    head = head_of(tiny, name, 0.3).double()
    hidden = torch.randn(2, 3, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    together = head.sample(hidden, seed=1, temperature=0.0)
    assert together.shape == (2, 3, 2, 80)
    for row in range(2):
        for column in range(3):
            one = head.sample(hidden[row, column], seed=1, temperature=0.0)
            assert torch.equal(together[row, column], one)


@pytest.mark.parametrize("name", HEADS)
def test_a_fixed_seed_gives_the_same_bytes(tiny: ModelConfig, name: str) -> None:
    head = head_of(tiny, name, 0.3)
    hidden = torch.randn(64, generator=torch.Generator().manual_seed(2))
    first = head.sample(hidden, seed=11, temperature=0.9, top_k=4)
    assert first.shape == (2, 80) and first.dtype == torch.uint8
    assert torch.equal(first, head.sample(hidden, seed=11, temperature=0.9, top_k=4))
    assert not torch.equal(first, head.sample(hidden, seed=12, temperature=0.9, top_k=4))
    assert torch.equal(first, head.sample(hidden[None, None], seed=11, temperature=0.9, top_k=4)[0, 0])
    if name != "flow":
        allowed = torch.from_numpy(byte_of_level(tiny))
        assert bool(torch.isin(first, allowed).all())
        coldest = head.sample(hidden, seed=1, temperature=0)
        assert torch.equal(coldest, head.sample(hidden, seed=2, temperature=0))


def test_dmel_nats_are_the_mean_over_bins(tiny: ModelConfig) -> None:
    head = head_of(tiny, "dmel")
    assert isinstance(head, DmelHead)
    hidden, target = torch.zeros(2, 64), random_bytes(2)
    assert torch.allclose(
        head.losses(hidden, target, NoiseKey(), torch.arange(2)), torch.full((2,), math.log(16))
    )
    hidden = torch.randn(1, 64, generator=torch.Generator().manual_seed(2))
    logit = head.logits(hidden)[0]
    level = head.level_of_byte(target[:1])[0]
    slow = [-float(logit[r, m].log_softmax(-1)[level[r, m]].detach()) for r in range(2) for m in range(80)]
    ours = head.losses(hidden, target[:1], NoiseKey(), torch.arange(1))
    assert float(ours.detach()) == pytest.approx(sum(slow) / 160, rel=1e-5)


def test_levels_are_drawn_in_proportion() -> None:
    share = torch.tensor([0.5, 0.3, 0.15, 0.05])
    logit = share.log().expand(40_000, 4)

    def shares(temperature: float, top_k: int) -> torch.Tensor:
        level = choose_levels(logit, 5, 0, temperature, top_k)
        return torch.bincount(level, minlength=4) / 40_000

    assert torch.allclose(shares(1.0, 0), share, atol=0.01)
    assert torch.allclose(shares(1.0, 2), torch.tensor([0.625, 0.375, 0, 0]), atol=0.01)
    cold = share.square() / share.square().sum()
    assert torch.allclose(shares(0.5, 0), cold, atol=0.01)
    assert shares(0.0, 0).tolist() == [1, 0, 0, 0]


def test_depth_groups_know_only_the_groups_before(tiny: ModelConfig) -> None:
    head = head_of(tiny, "depth").double()
    assert isinstance(head, DepthHead)
    hidden = torch.randn(1, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    level = torch.randint(0, 16, (1, 15, 10), generator=torch.Generator().manual_seed(3))
    before = head.logits(hidden, level)
    assert before.shape == (1, 16, 10, 16)
    other = level.clone()
    other[0, 6] = (other[0, 6] + 1) % 16
    after = head.logits(hidden, other)
    assert torch.equal(before[:, :7], after[:, :7])
    assert bool((before[:, 7:] != after[:, 7:]).any(-1).any(-1).all())
    assert torch.allclose(head.logits(hidden, level[:, :4]), before[:, :5], atol=1e-12)


def test_depth_draws_whole_frames_that_belong_together(tiny: ModelConfig) -> None:
    """Two voices that differ in all groups; the first bin says which, and all others follow it.

    Heads that draw bins apart would mix them.
    """
    head = head_of(tiny, "depth", 0.05)
    low, high = byte_of_level(tiny)[[3, 12]].tolist()
    target = torch.tensor([low, high], dtype=torch.uint8).view(2, 1, 1).repeat(8, 2, 80)
    target[:, 0, 1:10] = low
    hidden = torch.ones(16, 64)
    optimizer = torch.optim.Adam(head.parameters(), lr=3e-3)
    for _ in range(90):
        head.losses(hidden, target, NoiseKey(), torch.arange(16)).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    drawn = torch.stack([head.sample(hidden[0], seed=seed, temperature=1.0, top_k=2) for seed in range(12)])
    voice = drawn[:, 0, 0]
    assert sorted(voice.unique().tolist()) == [low, high]
    rest = drawn.flatten(1)[:, 10:]
    assert float((rest == voice[:, None]).float().mean()) > 0.97
