"""The cached step is the full forward pass, and the future cannot be seen from the past."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import torch

from corpus.schemas.errors import CorpusError
from corpus.trainer.config import ModelConfig
from corpus.trainer.data.layout import concat
from corpus.trainer.data.sequence import BYTE_0, Batch, Positions, Stream
from corpus.trainer.model.model import InteractionModel
from corpus.trainer.session.incremental import Reader

EXACT = 1e-12
Make = Callable[..., Positions]
Pack = Callable[..., Batch]
Cut = Callable[..., Positions]


def model_of(config: ModelConfig, dtype: torch.dtype = torch.float64) -> InteractionModel:
    """Weights larger than at the start of training, so that attention and routing are decided."""
    model = InteractionModel(config)
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" not in name:
                parameter.normal_(0, 0.15, generator=random)
        for name, buffer in model.named_buffers():
            if name.endswith("bias_E"):
                buffer.normal_(0, 0.05, generator=random)
    return model.to(dtype).eval()


@torch.no_grad()
def full(model: InteractionModel, whole: Positions, pack: Pack) -> torch.Tensor:
    return model.hidden(pack([[whole]], len(whole)))[0]


def far(config: ModelConfig) -> ModelConfig:
    """Sees 0.6 s back and the first micro-turn."""
    return dataclasses.replace(config, attention_window_s=0.6, sink_turns=1)


def run(model: InteractionModel, whole: Positions, cache: Reader, sizes: list[int], cut: Cut) -> torch.Tensor:
    """Hidden vectors of the positions from `cache.length` on, in chunks whose sizes repeat."""
    parts, turn = [], 0
    while cache.length < len(whole):
        size = sizes[turn % len(sizes)]
        parts.append(cache.read(cut(whole, cache.length, min(cache.length + size, len(whole)))))
        turn += 1
    return torch.cat(parts)


@pytest.mark.parametrize("sizes", [[1], [16], [5, 1, 1, 3], [1000]])
@pytest.mark.parametrize("window", [False, True])
def test_step_equals_the_full_pass(
    tiny: ModelConfig,
    make_document: Make,
    pack_rows: Pack,
    cut_positions: Cut,
    sizes: list[int],
    window: bool,
) -> None:
    model = model_of(far(tiny) if window else tiny)
    whole = make_document(tiny, 8)
    cache = Reader.of(model, capacity_positions=len(whole))
    ours = run(model, whole, cache, sizes, cut_positions)
    assert cache.length == len(whole)
    assert float((ours - full(model, whole, pack_rows)).abs().max()) <= EXACT


def test_the_window_is_felt(tiny: ModelConfig, make_document: Make, pack_rows: Pack) -> None:
    whole = make_document(tiny, 8)
    near = full(model_of(far(tiny)), whole, pack_rows)
    assert float((near - full(model_of(tiny), whole, pack_rows)).abs().max()) > 1e-3


@pytest.mark.parametrize("sizes", [[1], [7, 2]])
def test_a_small_ring_forgets_what_the_window_hides(
    tiny: ModelConfig, make_document: Make, pack_rows: Pack, cut_positions: Cut, sizes: list[int]
) -> None:
    model = model_of(far(tiny))
    whole = make_document(tiny, 30)
    expected = full(model, whole, pack_rows)
    cache = Reader.of(model, capacity_positions=64)
    assert len(whole) > 4 * 64
    assert float((run(model, whole, cache, sizes, cut_positions) - expected).abs().max()) <= EXACT
    assert cache.bytes == 2 * 2 * 2 * 128 * 16 * 8


def test_a_ring_of_any_size_is_right_or_says_it_is_too_small(
    tiny: ModelConfig, make_document: Make, pack_rows: Pack, cut_positions: Cut
) -> None:
    """Also where a chunk's first query still sees what room for its last one would need."""
    model = model_of(far(tiny))
    whole = make_document(tiny, 12)
    expected = full(model, whole, pack_rows)
    outcomes = set()
    for capacity in range(20, 60, 2):
        for size in (3, 9, 17):
            cache = Reader.of(model, capacity_positions=capacity)
            try:
                ours = run(model, whole, cache, [size], cut_positions)
            except CorpusError:
                outcomes.add("too small")
                continue
            outcomes.add("right")
            assert float((ours - expected).abs().max()) <= EXACT
    assert outcomes == {"right", "too small"}


@pytest.mark.parametrize("window", [False, True])
def test_after_going_back_all_is_as_if_nothing_had_been(
    tiny: ModelConfig, make_document: Make, pack_rows: Pack, cut_positions: Cut, window: bool
) -> None:
    model = model_of(far(tiny) if window else tiny)
    whole, other = make_document(tiny, 30, 0), make_document(tiny, 30, 9)
    expected = full(model, whole, pack_rows)
    cache = Reader.of(model, capacity_positions=96 if window else len(whole))
    random = np.random.default_rng(0)
    while cache.length < len(whole):
        start = cache.length
        stop = min(start + int(random.integers(1, 9)), len(whole))
        # A wrong step first, the right one after it.
        cache.read(cut_positions(other, start, min(stop + 2, len(other))))
        cache.rollback(start)
        assert cache.length == start
        ours = cache.read(cut_positions(whole, start, stop))
        assert float((ours - expected[start:stop]).abs().max()) <= EXACT


@pytest.mark.parametrize("window", [False, True])
def test_forks_do_not_know_of_each_other(
    tiny: ModelConfig, make_document: Make, pack_rows: Pack, cut_positions: Cut, window: bool
) -> None:
    model = model_of(far(tiny) if window else tiny)
    whole, other = make_document(tiny, 20, 0), make_document(tiny, 20, 9)
    expected = full(model, whole, pack_rows)
    cache = Reader.of(model, capacity_positions=80 if window else len(whole))
    half = len(whole) // 2
    run(model, cut_positions(whole, 0, half), cache, [6], cut_positions)
    fork = cache.fork()
    run(model, other, fork, [4], cut_positions)  # with a window, once and more around the ring
    ours = run(model, whole, cache, [6], cut_positions)
    assert float((ours - expected[half:]).abs().max()) <= EXACT


@pytest.mark.parametrize("window", [False, True])
def test_forks_that_take_turns_do_not_know_of_each_other(
    tiny: ModelConfig, make_document: Make, pack_rows: Pack, cut_positions: Cut, window: bool
) -> None:
    """What one appends stands where the other reads back to."""
    model = model_of(far(tiny) if window else tiny)
    whole, other = make_document(tiny, 20, 0), make_document(tiny, 20, 9)
    joined = concat([cut_positions(whole, 0, 60), cut_positions(other, 60, 120)])
    caches = [Reader.of(model, capacity_positions=80 if window else 120)]
    run(model, cut_positions(whole, 0, 60), caches[0], [6], cut_positions)
    caches.append(caches[0].fork())
    expected = [full(model, cut_positions(whole, 0, 120), pack_rows), full(model, joined, pack_rows)]
    for start in range(60, 120, 5):
        for cache, lived, hidden in zip(caches, (whole, joined), expected, strict=True):
            ours = cache.read(cut_positions(lived, start, start + 5))
            assert float((ours - hidden[start : start + 5]).abs().max()) <= EXACT


def test_a_full_cache_says_so_and_stays_whole(
    tiny: ModelConfig, make_document: Make, pack_rows: Pack, cut_positions: Cut
) -> None:
    whole = make_document(tiny, 8)
    for config in (tiny, far(tiny)):
        model = model_of(config)
        cache = Reader.of(model, capacity_positions=20)
        run(model, cut_positions(whole, 0, 18), cache, [1], cut_positions)
        with pytest.raises(CorpusError, match="20 positions are held"):
            cache.read(cut_positions(whole, 18, 40))
        assert cache.length == 18
        ours = cache.read(cut_positions(whole, 18, 20))
        expected = full(model, whole, pack_rows)[18:20]
        assert float((ours - expected).abs().max()) <= EXACT


def test_going_back_beyond_what_the_ring_holds_is_refused(
    tiny: ModelConfig, make_document: Make, cut_positions: Cut
) -> None:
    model = model_of(far(tiny))
    whole = make_document(tiny, 30)
    cache = Reader.of(model, capacity_positions=64)
    run(model, whole, cache, [4], cut_positions)
    with pytest.raises(CorpusError, match="overwritten"):
        cache.rollback(30)
    with pytest.raises(CorpusError, match="overwritten"):
        cache.rollback(0)
    with pytest.raises(ValueError, match="cannot roll back"):
        cache.rollback(len(whole) + 1)
    assert cache.length == len(whole)


def test_single_precision_streams_within_rounding(
    tiny: ModelConfig, make_document: Make, pack_rows: Pack, cut_positions: Cut
) -> None:
    """At 8 positions or fewer the experts' weights are gathered: another path than the full pass takes."""
    model = model_of(tiny, torch.float32)
    whole = make_document(tiny, 8)
    cache = Reader.of(model, capacity_positions=len(whole))
    ours = run(model, whole, cache, [1, 8, 9], cut_positions)
    assert float((ours - full(model, whole, pack_rows)).abs().max()) < 1e-4


# The future


def perturbed(batch: Batch, after: torch.Tensor, streams: set[Stream]) -> Batch:
    """Other content, of the named streams, at the flat positions marked in `after`."""
    random = torch.Generator().manual_seed(5)
    marked = torch.cat((after, torch.zeros(1, dtype=torch.bool)))
    stream_N = torch.cat((batch.stream_BL.reshape(-1).long(), torch.tensor([int(Stream.PAD)])))
    wanted = marked & torch.isin(stream_N, torch.tensor([int(stream) for stream in streams]))

    def other(values: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
        fresh = torch.randint(0, 256, values.shape, generator=random).to(torch.uint8)
        mask = wanted[at.long()].view(-1, *[1] * (values.dim() - 1))
        return torch.where(mask, fresh, values)

    token_N = batch.token_BL.reshape(-1)
    fresh = torch.randint(BYTE_0, BYTE_0 + 256, token_N.shape, generator=random).to(token_N.dtype)
    token_N = torch.where(wanted[:-1] & (token_N >= 0), fresh, token_N)
    return dataclasses.replace(
        batch,
        token_BL=token_N.view(batch.shape),
        audio_ARM=other(batch.audio_ARM, batch.audio_at_A),
        patch_PHWC=other(batch.patch_PHWC, batch.patch_at_P),
    )


STREAMS = {
    "heard sound": {Stream.HEARD},
    "own sound": {Stream.OWN_SOUND},
    "given text": {Stream.GIVEN_TEXT},
    "own text": {Stream.OWN_TEXT, Stream.CONTROL},
    "pictures": {Stream.PICTURE},
    "everything": set(Stream),
}


@pytest.mark.parametrize("streams", STREAMS)
@pytest.mark.parametrize("window", [False, True])
@torch.no_grad()
def test_the_future_changes_nothing_before_it(
    tiny: ModelConfig, make_document: Make, pack_rows: Pack, streams: str, window: bool
) -> None:
    """Bit for bit, in the row perturbed; and bit for bit in the other row and in documents packed behind."""
    model = model_of(far(tiny) if window else tiny)
    batch = pack_rows(
        [[make_document(tiny, 5, 0), make_document(tiny, 4, 1)], [make_document(tiny, 8, 2)]], 112
    )
    before = model.hidden(batch)
    length = batch.shape[1]
    segment_0 = batch.segment_BL[0]
    position = torch.arange(length)
    first = int((segment_0 == 0).sum())
    changed = 0
    for p in (0, 3, 11, 20, first - 8, first - 1, first + 12, length - 2):
        after = torch.zeros(batch.shape, dtype=torch.bool)
        after[0] = (position > p) & (segment_0 == segment_0[p])
        other = model.hidden(perturbed(batch, after.reshape(-1), STREAMS[streams]))
        same = (other == before).all(-1)
        assert bool(same[0, : p + 1].all())
        assert bool(same[1].all())
        assert bool(same[0][segment_0 != segment_0[p]].all())
        changed += int((~same).sum())
    assert changed > 0, "the perturbation was felt nowhere"


@pytest.mark.parametrize("window", [False, True])
def test_gradients_do_not_reach_the_future_in_single_precision(
    tiny: ModelConfig, make_document: Make, pack_rows: Pack, window: bool
) -> None:
    """Through the grouped products: what a hidden vector depends on has a gradient, the future none."""
    model = model_of(far(tiny) if window else tiny, torch.float32)
    batch = pack_rows([[make_document(tiny, 5, 0), make_document(tiny, 4, 1)]], 112)
    embedded: list[torch.Tensor] = []

    def keep(module: torch.nn.Module, given: object, out: torch.Tensor) -> torch.Tensor:
        embedded.append(out.detach().requires_grad_())
        return embedded[-1]

    model.embed.register_forward_hook(keep)
    hidden = model.hidden(batch)[0]
    segment = batch.segment_BL[0]
    for p in (0, 9, 30, int((segment == 0).sum()) + 5):
        (grad,) = torch.autograd.grad(hidden[p].sum(), embedded[0], retain_graph=True)
        felt = grad[0].abs().sum(-1) > 0
        assert bool(felt[p])
        position = torch.arange(len(felt))
        assert not felt[(position > p) | (segment != segment[p])].any()
        if not window:
            assert bool(felt[(position <= p) & (segment == segment[p])].all())


@torch.no_grad()
def test_the_future_changes_nothing_before_it_in_single_precision(
    tiny: ModelConfig, make_document: Make, pack_rows: Pack
) -> None:
    """Groups of other sizes and rows in other places: within rounding here, to the bit only in fp64."""
    model = model_of(tiny, torch.float32)
    batch = pack_rows([[make_document(tiny, 8, 2)]], 112)
    before = model.hidden(batch)
    after = (torch.arange(112) > 40).view(1, -1)
    other = model.hidden(perturbed(batch, after.reshape(-1), set(Stream)))
    assert torch.allclose(other[0, :41], before[0, :41], atol=1e-5)


@torch.no_grad()
def test_a_document_does_not_feel_where_it_is_packed(
    tiny: ModelConfig, make_document: Make, pack_rows: Pack
) -> None:
    model = model_of(tiny)
    whole, others = make_document(tiny, 4, 1), make_document(tiny, 5, 0)
    alone = full(model, whole, pack_rows)
    packed = model.hidden(pack_rows([[others, whole], [whole]], 112))
    start = len(others)
    assert torch.allclose(packed[0, start : start + len(whole)], alone, atol=EXACT)
    assert torch.allclose(packed[1, : len(whole)], alone, atol=EXACT)
