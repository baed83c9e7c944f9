from __future__ import annotations

import dataclasses
from statistics import NormalDist

import pytest
import torch

from corpus.schemas.errors import SettingsError
from corpus.trainer.config import ModelConfig
from corpus.trainer.data.noise import NoiseKey
from corpus.trainer.model.flow_head import FlowHead


def flow_of(config: ModelConfig, scale: float = 0.1) -> FlowHead:
    head = FlowHead(config)
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.normal_(0, scale, generator=random)
    return head


def plane(config: ModelConfig, **changed: float) -> FlowHead:
    """A flow over points of the plane."""
    small = {"mel_bins": 2, "depth_groups": 1, "frames_per_position": 1, "flow_width": 32}
    return flow_of(dataclasses.replace(config, flow_layers=2, flow_steps=16, **small, **changed), 0.08)


def random_bytes(count: int, seed: int = 1) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 2, 80), generator=random).to(torch.uint8)


def normals(*shape: int, seed: int = 2) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_flow_noise_is_keyed_by_seed_step_and_position(tiny: ModelConfig) -> None:
    head = flow_of(tiny)
    hidden, target = torch.ones(2, 64), random_bytes(1).repeat(2, 1, 1)

    def losses(seed: int, step: int, where: list[int]) -> list[float]:
        key = NoiseKey(seed=seed, step=step)
        return head.losses(hidden, target, key, torch.tensor(where)).tolist()

    base = losses(1, 2, [5, 6])
    assert losses(1, 2, [6, 5]) == pytest.approx(base[::-1])
    assert base[0] != base[1]
    assert base[0] != losses(2, 2, [5, 6])[0]
    assert base[0] != losses(1, 3, [5, 6])[0]


def test_flow_bytes_are_values_rounded(tiny: ModelConfig) -> None:
    """A velocity of zero leaves the noise: scaled to nothing, every byte is the middle of the range."""
    head = flow_of(tiny, 0.0)
    middle = round((-2.0 + 7.3) / 0.0375 - 0.5)
    sample = head.sample(torch.ones(64), seed=1, temperature=0.0)
    assert sample.unique().tolist() in ([middle], [middle + 1], [middle - 1])


def test_flow_recovers_a_mixture_of_two_gaussians(tiny: ModelConfig) -> None:
    """Two clouds of points at (-1, 0.5) and (1, -0.5), a third of them in the first."""
    head = plane(tiny)
    random = torch.Generator().manual_seed(0)
    centres = torch.tensor([[-1.0, 0.5], [1.0, -0.5]])
    hidden = torch.zeros(256, 64)
    optimizer = torch.optim.Adam(head.parameters(), lr=6e-3)
    for step in range(200):
        which = (torch.rand(256, generator=random) > 1 / 3).long()
        value = centres[which] + 0.1 * torch.randn(256, 2, generator=random)
        key = NoiseKey(seed=0, step=step)
        head.losses_of_values(hidden, value, key, torch.arange(256)).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    drawn = head.sample_values(torch.zeros(2000, 64), seed=4)
    distance = (drawn[:, None] - centres).norm(dim=-1)
    nearest = distance.min(1)
    assert float((nearest.values < 0.5).float().mean()) > 0.93
    assert abs(float((nearest.indices == 0).float().mean()) - 1 / 3) < 0.08
    for cloud in (0, 1):
        mean = drawn[nearest.indices == cloud].mean(0)
        assert float((mean - centres[cloud]).norm()) < 0.15
    assert torch.equal(drawn, head.sample_values(torch.zeros(2000, 64), seed=4))


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5])
def test_the_share_of_dropped_positions_is_as_set(tiny: ModelConfig, share: float) -> None:
    head = flow_of(dataclasses.replace(tiny, flow_dropout=share))
    dropped = head.dropped(NoiseKey(seed=1, step=2), torch.arange(20_000))
    assert float(dropped.float().mean()) == pytest.approx(share, abs=0.01)
    later = head.dropped(NoiseKey(seed=1, step=3), torch.arange(20_000))
    assert float((dropped & later).float().mean()) == pytest.approx(share**2, abs=0.01)


def test_a_dropped_position_is_learnt_without_its_hidden_vector(tiny: ModelConfig) -> None:
    """Whole vectors, in training alone; nothing else of a loss changes."""
    head = flow_of(dataclasses.replace(tiny, flow_dropout=0.5)).double()
    hidden, target, where = normals(40, 64).double(), random_bytes(40), torch.arange(40)
    key = NoiseKey(seed=3, step=4)
    dropped = head.dropped(key, where)
    assert 5 < int(dropped.sum()) < 35
    losses = head.losses(hidden, target, key, where)
    head.dropout = 0.0
    shown = head.losses(hidden, target, key, where)
    unknown = head.losses(torch.zeros_like(hidden), target, key, where)
    assert torch.equal(losses, torch.where(dropped, unknown, shown))


def test_what_is_dropped_hangs_on_positions_not_on_who_computes_them(tiny: ModelConfig) -> None:
    """One process with all positions, or two with every other one: the same losses to the last bit."""
    head = flow_of(dataclasses.replace(tiny, flow_dropout=0.5)).double()
    hidden, target, where = normals(16, 64).double(), random_bytes(16), torch.arange(16) + 7
    key = NoiseKey(seed=5, step=6)
    whole = head.dropped(key, where)
    assert 0 < int(whole.sum()) < 16
    losses = head.losses(hidden, target, key, where)
    for rank in (0, 1):
        own = slice(rank, None, 2)
        assert torch.equal(head.dropped(key, where[own]), whole[own])
        mine = head.losses(hidden[own], target[own], key, where[own])
        torch.testing.assert_close(mine, losses[own], atol=1e-12, rtol=0)


def test_evaluation_asks_at_fixed_times_and_shows_everything(tiny: ModelConfig) -> None:
    head = flow_of(dataclasses.replace(tiny, flow_dropout=0.9)).eval()
    middle = [1 / 16, 3 / 16, 5 / 16, 7 / 16, 9 / 16, 11 / 16, 13 / 16, 15 / 16]
    times = head.grid_K(torch.arange(8)).double().logit()
    assert [NormalDist().cdf(float(t)) for t in times] == pytest.approx(middle, abs=1e-6)
    hidden, target, where = normals(4, 64), random_bytes(4), torch.arange(4)
    asked: list[torch.Tensor] = []

    def velocity(x: torch.Tensor, time: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
        asked.append(time)
        assert bool((known == hidden[:, None]).all())
        return torch.zeros_like(x)

    head.velocity = velocity  # type: ignore[method-assign]
    head.losses(hidden, target, NoiseKey(seed=1), where)
    head.losses(hidden, target, NoiseKey(seed=2), where)
    assert torch.equal(asked[0], asked[1]) and asked[0].shape == (4, 8, 1)


def test_the_fixed_times_estimate_the_loss_of_training(tiny: ModelConfig) -> None:
    """They are quantiles of the distribution training draws from, so losses can be set side by side."""
    head = flow_of(dataclasses.replace(tiny, flow_dropout=0.0))
    hidden, target, where = normals(400, 64), random_bytes(400), torch.arange(400)
    with torch.no_grad():
        drawn = [head.losses(hidden, target, NoiseKey(step=step), where).mean() for step in range(4)]
        fixed = head.eval().losses(hidden, target, NoiseKey(), where).mean()
    assert float(fixed) == pytest.approx(float(torch.stack(drawn).mean()), rel=0.02)


def test_guidance_of_one_is_the_model_itself(tiny: ModelConfig) -> None:
    head = flow_of(tiny, 0.3)
    hidden = normals(5, 64)
    plain = head.sample_values(hidden, seed=3)
    assert torch.equal(head.sample_values(hidden, seed=3, guidance=1.0), plain)
    assert not torch.equal(head.sample_values(hidden, seed=3, guidance=2.0), plain)
    unknown = head.sample_values(torch.zeros_like(hidden), seed=3)
    torch.testing.assert_close(head.sample_values(hidden, seed=3, guidance=0.0), unknown)


def test_guidance_sharpens_towards_the_condition(tiny: ModelConfig) -> None:
    """Two conditions whose clouds overlap, one at -0.6 and one at 0.6, both 0.5 wide.

    A point's side tells the condition with Phi(0.6 / 0.5) = 0.885 by chance alone: unguided samples must
    come near to that, guided ones must be told better, and lie further from the other cloud.
    """
    head = plane(tiny, flow_dropout=0.2)
    random = torch.Generator().manual_seed(0)
    vectors = torch.stack((torch.ones(64), torch.ones(64) * torch.tensor([1.0, -1.0]).repeat(32)))
    optimizer = torch.optim.Adam(head.parameters(), lr=6e-3)
    for step in range(250):
        which = torch.randint(0, 2, (256,), generator=random)
        centre = torch.stack((1.2 * which - 0.6, torch.zeros(256)), 1)
        value = centre + 0.5 * torch.randn(256, 2, generator=random)
        key = NoiseKey(seed=0, step=step)
        head.losses_of_values(vectors[which], value, key, torch.arange(256)).mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    def right(guidance: float) -> tuple[float, float]:
        """Share of points on their condition's side; mean distance into it."""
        points = [head.sample_values(v.expand(1000, 64), seed=4, guidance=guidance)[:, 0] for v in vectors]
        side = torch.cat((-points[0], points[1]))
        return float((side > 0).float().mean()), float(side.mean())

    (plain, near), (guided, far), (none, _) = right(1.0), right(2.0), right(0.0)
    assert plain == pytest.approx(NormalDist().cdf(1.2), abs=0.05)
    assert near == pytest.approx(0.6, abs=0.12)
    assert guided > plain + 0.04 and far > near + 0.2
    assert none == pytest.approx(0.5, abs=0.08)


def test_a_share_of_all_is_refused(tiny: ModelConfig) -> None:
    with pytest.raises(SettingsError, match="flow_dropout"):
        dataclasses.replace(tiny, flow_dropout=1.0)
