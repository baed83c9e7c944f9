"""First values of parameters, on ranks that a fake process group stands for, one after the other."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
import torch.distributed as dist
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Placement, Replicate, Shard
from torch.distributed.tensor._utils import compute_local_shape_and_global_offset
from torch.distributed.tensor.debug import _clear_sharding_prop_cache
from torch.testing._internal.distributed.fake_pg import FakeStore

from corpus.trainer.config import ModelConfig, RunConfig
from corpus.trainer.data import noise
from corpus.trainer.model import initial_values
from corpus.trainer.model.initial_values import fill
from corpus.trainer.model.model import InteractionModel
from corpus.trainer.parallel.prepare import prepare
from corpus.trainer.parallel.ranks import ranks_of
from corpus.trainer.presets import MODELS

TINY = MODELS["tiny"]
Box = tuple[slice, ...]


@contextmanager
def as_rank(rank: int, world: int) -> Iterator[None]:
    # What DTensor remembers of its operators holds the mesh, and with it the rank, of the first call.
    _clear_sharding_prop_cache()
    dist.init_process_group("fake", store=FakeStore(), rank=rank, world_size=world)
    try:
        yield
    finally:
        dist.destroy_process_group()


def held(tensor: DTensor) -> tuple[Box, torch.Tensor]:
    """Where a rank's part lies in the whole, and the part."""
    part = tensor.to_local().detach().clone()
    _, offset = compute_local_shape_and_global_offset(tensor.shape, tensor.device_mesh, tensor.placements)
    return tuple(slice(o, o + n) for o, n in zip(offset, part.shape, strict=True)), part


def whole(shape: tuple[int, ...], name: str = "a", seed: int = 0) -> torch.Tensor:
    made = torch.full(shape, torch.nan)
    fill(made, seed=seed, name=name, config=TINY)
    return made


def put_together(
    shape: tuple[int, ...], mesh: tuple[int, ...], places: tuple[Placement, ...]
) -> torch.Tensor:
    """What the ranks of a mesh hold; where several hold the same they must agree."""
    joined = torch.full(shape, torch.nan)
    for rank in range(math.prod(mesh)):
        with as_rank(rank, math.prod(mesh)):
            there = init_device_mesh("cpu", mesh)
            size, _ = compute_local_shape_and_global_offset(shape, there, places)
            stride = torch.empty(shape, device="meta").stride()
            part = torch.full(size, torch.nan)
            tensor = DTensor.from_local(part, there, places, run_check=False, shape=shape, stride=stride)
            fill(tensor, seed=0, name="a", config=TINY)
            box, part = held(tensor)
        before = joined[box]
        assert torch.equal(before[before.isfinite()], part[before.isfinite()])
        joined[box] = part
    return joined


@st.composite
def cuts(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[int, ...], tuple[Placement, ...]]:
    """A tensor, a mesh, and how one is cut over the other: parts may be uneven or empty."""
    shape = tuple(draw(st.lists(st.integers(1, 9), min_size=1, max_size=3)))
    mesh = tuple(draw(st.lists(st.integers(1, 3), min_size=1, max_size=3)))
    free = draw(st.permutations([Shard(dim) for dim in range(len(shape))] + [Replicate()] * len(mesh)))
    return shape, mesh, tuple(free[: len(mesh)])


@settings(max_examples=60)
@given(cuts())
def test_parts_of_any_mesh_make_up_the_whole(
    cut: tuple[tuple[int, ...], tuple[int, ...], tuple[Placement, ...]],
) -> None:
    assert torch.equal(put_together(*cut), whole(cut[0]))


@pytest.mark.parametrize(
    ("shape", "mesh", "places"),
    [
        ((4, 6, 5), (2, 2), (Shard(1), Shard(0))),  # experts of a rank, cut over the data ranks
        ((4, 6, 5), (2, 2, 2), (Replicate(), Shard(1), Shard(0))),  # and in two copies
        ((5, 3), (4,), (Shard(0),)),  # 2, 2, 1 and 0 rows
        ((3, 7), (2, 3), (Shard(0), Shard(1))),
        ((2, 3), (5,), (Shard(0),)),
    ],
)
def test_parts_of_meshes_in_use_make_up_the_whole(
    shape: tuple[int, ...], mesh: tuple[int, ...], places: tuple[Placement, ...]
) -> None:
    assert torch.equal(put_together(shape, mesh, places), whole(shape))


@pytest.mark.parametrize(
    ("world", "pairs"),
    [
        (2, []),
        (6, []),
        (4, ["expert_parallel=2"]),
        (4, ["replicas=2"]),
        (8, ["replicas=2", "expert_parallel=2"]),
        (4, ["expert_parallel=4"]),
    ],
)
def test_a_model_cut_before_it_has_memory_is_the_whole_one(
    small_run: Callable[..., RunConfig], world: int, pairs: list[str]
) -> None:
    config = small_run("data.rows=24", "model.audio_head=flow", *pairs)
    expected = dict(InteractionModel(config.model, seed=5).named_parameters())
    joined = {name: torch.full_like(value, torch.nan) for name, value in expected.items()}
    for rank in range(world):
        with as_rank(rank, world):
            model = InteractionModel.unset(config.model)
            prepare(model, config, ranks_of(config, torch.device("cpu")))
            model.to_empty(device="cpu")
            assert not any(buffer.is_meta for buffer in model.buffers())
            model.initialise(5)
            for name, value in model.named_parameters():
                assert isinstance(value, DTensor)
                box, part = held(value)
                joined[name][box] = part
    for name, value in expected.items():
        assert torch.equal(joined[name], value), name


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = whole((37, 11))
    for size in (1, 7, 64):
        monkeypatch.setattr(initial_values, "_CHUNK_CPU", size)
        assert torch.equal(whole((37, 11)), expected)
    element = torch.arange(37 * 11).view(37, 11)
    key = initial_values.key_of("a")
    assert torch.equal(noise.normal(0, key, element) * initial_values.INIT_STD, expected)


def test_no_chunk_crosses_what_the_generator_cannot() -> None:
    edge = 1 << 32
    found = list(initial_values._chunks(edge - 5, edge + 9, 4))
    assert found == [
        (edge - 5, edge - 1),
        (edge - 1, edge),
        (edge, edge + 4),
        (edge + 4, edge + 8),
        (edge + 8, edge + 9),
    ]


def test_values_hang_on_seed_and_name_alone() -> None:
    torch.manual_seed(1)
    one = InteractionModel(TINY, seed=3)
    state = torch.get_rng_state()
    torch.manual_seed(2)
    two = InteractionModel(TINY, seed=3)
    other = InteractionModel(TINY, seed=4)
    for (name, a), b, c in zip(one.named_parameters(), two.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)
        assert torch.equal(a, c) == ("norm" in name), name
    torch.manual_seed(1)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(whole((9, 9), "a"), whole((9, 9), "b"))


def test_values_are_normal_and_independent() -> None:
    """Moments to the fourth, the distribution function (Kolmogorov), and neighbours along every dimension."""
    count = 1 << 20
    x = whole((1 << 8, 1 << 6, 1 << 6)).double() / initial_values.INIT_STD
    root = math.sqrt(count)
    assert abs(float(x.mean())) < 4 / root
    assert abs(float(x.var()) - 1) < 4 * math.sqrt(2) / root
    assert abs(float((x**3).mean())) < 4 * math.sqrt(15) / root
    assert abs(float((x**4).mean()) - 3) < 4 * math.sqrt(96) / root
    ordered = x.flatten().sort().values
    ideal = torch.special.ndtr(ordered)
    steps = torch.arange(1, count + 1, dtype=torch.float64) / count
    assert float((steps - ideal).abs().max()) < 1.95 / root  # p = 0.001
    assert 4.4 < float(x.abs().max()) < 5.9
    for dim in range(3):
        length = x.shape[dim] - 1
        near = x.narrow(dim, 0, length) * x.narrow(dim, 1, length)
        assert abs(float(near.mean())) < 4 / math.sqrt(near.numel())
    for other in (whole(tuple(x.shape), "b"), whole(tuple(x.shape), seed=1)):
        assert abs(float((x * other / initial_values.INIT_STD).mean())) < 4 / root


@pytest.mark.parametrize("head", ["dmel", "flow", "depth"])
def test_deviations_are_those_documented(head: str) -> None:
    config: ModelConfig = dataclasses.replace(TINY, audio_head=head)  # type: ignore[arg-type]
    for name, value in InteractionModel(config).named_parameters():
        wanted = initial_values.deviation(name, config)
        if wanted is None:
            assert bool((value == 1).all()), name
        elif value.numel() > 500 or wanted == 0:
            assert float(value.detach().std()) == pytest.approx(wanted, rel=0.12), name
