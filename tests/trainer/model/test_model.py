"""The whole model: precision, sums that add up, what padding may not do, both ways of sharing experts."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable

import pytest
import torch

from corpus.schemas.errors import SettingsError
from corpus.trainer.config import AudioHead, LossConfig, ModelConfig
from corpus.trainer.data.noise import NoiseKey
from corpus.trainer.data.sequence import NO_TARGET, Batch, Positions
from corpus.trainer.model.attention_mask import FlexMask, Sight
from corpus.trainer.model.loss_sums import Denominators, LossSums
from corpus.trainer.model.model import InteractionModel
from corpus.trainer.parallel.compile import compile_blocks

Make = Callable[..., Positions]
Pack = Callable[..., Batch]


def total(sums: LossSums) -> torch.Tensor:
    return sums.total(sums.denominators)


@pytest.mark.parametrize("head", ["dmel", "flow"])
def test_padding_of_lists_only_costs(
    tiny: ModelConfig, make_document: Make, pack_rows: Pack, head: str
) -> None:
    """Losses and gradients without it are those with it, so far as sums in another order are the same."""
    config = dataclasses.replace(tiny, audio_head=head, user_audio=True, cues=True)  # type: ignore[arg-type]
    rows = [[make_document(config, 6, 0), make_document(config, 5, 1)], [make_document(config, 11, 2)]]
    padded = pack_rows(rows, 144, 40)
    trimmed = padded.trimmed()
    assert len(trimmed.audio_at_A) == len(padded.audio_at_A) - 40
    assert len(trimmed.patch_at_P) == len(trimmed.patch_PHWC) == len(padded.patch_at_P) - 40
    assert len(trimmed.audio_target_at_T) == len(trimmed.audio_weight_T) == len(padded.audio_target_at_T) - 40
    model = InteractionModel(config).double().train()
    losses = LossConfig(user_audio=0.3, cues=0.3)
    found = []
    for batch in (padded, trimmed):
        model.zero_grad()
        sums = model(batch, losses)
        total(sums).backward()
        gradients = [value.grad.clone() for value in model.parameters() if value.grad is not None]
        found.append((total(sums).detach(), gradients))
    (one, ones), (two, twos) = found
    assert torch.allclose(one, two, rtol=1e-12, atol=0)
    assert all(torch.allclose(a, b, rtol=1e-9, atol=1e-14) for a, b in zip(ones, twos, strict=True))


@pytest.mark.parametrize("head", ["dmel", "flow", "depth"])
def test_precisions_agree(tiny: ModelConfig, batch: Batch, head: str) -> None:
    config = dataclasses.replace(tiny, audio_head=head)  # type: ignore[arg-type]
    torch.manual_seed(0)
    single = InteractionModel(config)
    double, half = copy.deepcopy(single).double(), copy.deepcopy(single)
    half.compute = torch.bfloat16
    losses = [float(total(m(batch, LossConfig())).detach()) for m in (double, single, half)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-6)
    assert losses[2] == pytest.approx(losses[0], rel=2e-2)
    total(half(batch, LossConfig())).backward()
    for name, parameter in half.named_parameters():
        assert parameter.grad is not None and parameter.grad.dtype == torch.float32, name
        assert bool(parameter.grad.isfinite().all()), name


def test_sums_are_the_slow_sums(tiny: ModelConfig, batch: Batch) -> None:
    torch.manual_seed(0)
    model = InteractionModel(tiny).double().eval()
    sums = model(batch, LossConfig())
    hidden = model.hidden(batch)
    log_p = model.text_logits(hidden).log_softmax(-1)
    text = 0.0
    for row in range(2):
        for at in range(144):
            target = int(batch.text_target_BL[row, at])
            if target != NO_TARGET:
                text -= float((log_p[row, at, target] * batch.text_weight_BL[row, at]).detach())
    assert float(sums.text_sum.detach()) == pytest.approx(text, rel=1e-9)
    audio, flat = 0.0, hidden.flatten(0, 1)
    for n in range(len(batch.audio_target_at_T) - 3):
        at = batch.audio_target_at_T[n : n + 1].long()
        target_TRM = batch.audio_target_TRM[n : n + 1]
        audio += float(model.audio_head.losses(flat[at], target_TRM, NoiseKey(), at).detach())
    assert float(sums.audio_sum.detach()) == pytest.approx(audio, rel=1e-9)
    assert int(sums.positions) == int((batch.segment_BL >= 0).sum())
    assert int(sums.load_NE.sum()) == tiny.top_k * int(sums.positions)


@pytest.mark.parametrize(
    ("head", "listens"), [("dmel", False), ("flow", False), ("depth", False), ("flow", True)]
)
def test_micro_batches_add_up_to_the_batch(
    tiny: ModelConfig, make_document: Make, pack_rows: Pack, head: AudioHead, listens: bool
) -> None:
    """Loss and gradient of two rows at once, and of one row at a time over the same denominators."""
    torch.manual_seed(0)
    config = dataclasses.replace(tiny, audio_head=head, user_audio=listens)
    model, weights = InteractionModel(config).double(), LossConfig(user_audio=0.5 * listens)
    rows = [[make_document(config, 4, 0)], [make_document(config, 7, 1)]]
    key = NoiseKey(seed=1, step=5)
    at_once = model(pack_rows(rows, 96), weights, key)
    loss = total(at_once)
    loss.backward()
    expected = [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]
    model.zero_grad()
    parts = [pack_rows([row], 96) for row in rows]
    shares = [Denominators.of(part) for part in parts]
    whole = Denominators(*(sum(column, torch.zeros(())) for column in zip(*shares, strict=True)))
    losses = 0.0
    for number, part in enumerate(parts):
        share = model(part, weights, key, torch.tensor([number])).total(whole)
        share.backward()
        losses += float(share.detach())
    assert losses == pytest.approx(float(loss.detach()), rel=1e-12)
    found = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    for mine, theirs in zip(found, expected, strict=True):
        assert torch.allclose(mine, theirs, atol=1e-12)


def test_padding_changes_no_loss_and_no_gradient(
    tiny: ModelConfig, make_document: Make, pack_rows: Pack
) -> None:
    torch.manual_seed(0)
    model = InteractionModel(tiny).double()
    results = []
    for length, spare in ((101, 0), (128, 5)):
        rows = [[make_document(tiny, 8, 1)]]
        loss = total(model(pack_rows(rows, length, spare), LossConfig()))
        results.append([loss.detach(), *torch.autograd.grad(loss, list(model.parameters()))])
    for tight, loose in zip(*results, strict=True):
        assert torch.allclose(tight, loose, atol=1e-12)


def test_a_batch_without_sound_or_targets_still_has_all_gradients(
    tiny: ModelConfig, make_document: Make, pack_rows: Pack
) -> None:
    """Ranks must agree on which gradients exist."""
    batch = pack_rows([[make_document(tiny, 3, 1)]], 64)
    silent = dataclasses.replace(
        batch,
        text_target_BL=torch.full_like(batch.text_target_BL, NO_TARGET),
        text_at_S=batch.text_at_S[:0],
        audio_weight_T=torch.zeros_like(batch.audio_weight_T),
        segment_BL=torch.full_like(batch.segment_BL, -1),
        heard_known_A=torch.zeros_like(batch.heard_known_A),
    )
    model = InteractionModel(dataclasses.replace(tiny, user_audio=True))
    loss = total(model(silent, LossConfig(user_audio=1)))
    loss.backward()
    assert float(loss.detach()) == 0
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and bool(parameter.grad.isfinite().all()), name


def test_twice_the_same_bits(tiny: ModelConfig, batch: Batch) -> None:
    runs = []
    for _ in range(2):
        torch.manual_seed(3)
        model = InteractionModel(tiny)
        loss = total(model(batch, LossConfig()))
        runs.append([loss.detach(), *torch.autograd.grad(loss, list(model.parameters()))])
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))


def test_loads_are_counted_in_training_only_and_reset(tiny: ModelConfig, batch: Batch) -> None:
    model = InteractionModel(tiny)
    valid = int((batch.segment_BL >= 0).sum())
    for _ in range(2):
        total(model(batch, LossConfig())).backward()
    with torch.no_grad():
        model(batch, LossConfig())
    model.eval()(batch, LossConfig())
    assert int(model.load_NE.sum()) == 2 * valid * tiny.top_k
    before = model.blocks[1].feed.router.bias_E.clone()
    model.update_router_bias()
    moved = model.blocks[1].feed.router.bias_E - before
    assert 0 < float(moved.abs().max()) <= 2 * tiny.balance_rate
    assert not model.load_NE.any()


def test_weights_start_small_and_smaller_where_they_add_up(tiny: ModelConfig) -> None:
    config = dataclasses.replace(tiny, layers=8, width=256, experts=8)
    model = InteractionModel(config)
    block = model.blocks[4]
    assert float(block.attention.query.detach().std()) == pytest.approx(0.02, rel=0.05)
    assert float(block.attention.out.detach().std()) == pytest.approx(0.005, rel=0.05)
    assert float(block.feed.experts.down.detach().std()) == pytest.approx(0.005, rel=0.05)
    assert float(model.embed.text.detach().std()) == pytest.approx(0.02, rel=0.05)


def test_compiling_asks_for_bf16(tiny: ModelConfig) -> None:
    with pytest.raises(SettingsError, match="needs bf16"):
        compile_blocks(InteractionModel(tiny))


def test_the_model_can_learn_a_batch_by_heart(
    tiny: ModelConfig, make_document: Make, pack_rows: Pack
) -> None:
    torch.manual_seed(0)
    model = InteractionModel(tiny)
    batch = pack_rows([[make_document(tiny, 16, 2)]], 168)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, betas=(0.9, 0.95))
    for _ in range(70):
        sums = model(batch, LossConfig())
        total(sums).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        model.update_router_bias()
    assert float((sums.text_sum / sums.text_weight).detach()) < 0.05
    assert float((sums.audio_sum / sums.audio_weight).detach()) < 0.15


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_blocks_compile_whole_and_once(tiny: ModelConfig, make_document: Make, pack_rows: Pack) -> None:
    """bf16, fullgraph; other documents of the same shape compile nothing again."""
    torch.manual_seed(0)
    model = InteractionModel(tiny)
    model.compute = torch.bfloat16
    batches = [pack_rows([[make_document(tiny, 5, n), make_document(tiny, 4, n + 9)]], 128) for n in range(4)]
    eager = [total(model(batch, LossConfig())) for batch in batches]
    torch._dynamo.reset()
    compile_blocks(model)
    counter = torch._dynamo.utils.counters
    counter.clear()
    frames = []
    for batch, expected in zip(batches, eager, strict=True):
        loss = total(model(batch, LossConfig()))
        loss.backward()
        assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=2e-2)
        frames.append(counter["stats"]["unique_graphs"])
    assert frames == [2, 2, 2, 2]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@torch.no_grad()
def test_the_gpu_mask_goes_into_compiled_blocks(
    tiny: ModelConfig, make_document: Make, pack_rows: Pack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mask of a GPU, compiled for the CPU, which has its forward pass: one graph a block, no new ones."""
    torch.manual_seed(0)
    model = InteractionModel(tiny).eval()
    model.compute = torch.bfloat16
    batches = [pack_rows([[make_document(tiny, 5, n), make_document(tiny, 4, n + 9)]], 128) for n in range(3)]
    dense = [model.hidden(batch) for batch in batches]
    flex = FlexMask(1, 128, Sight.of(tiny), torch.device("cpu"))
    monkeypatch.setattr(model, "_mask", lambda batch, dtype: flex.set(batch.segment_BL, batch.turn_BL))
    torch._dynamo.reset()
    compile_blocks(model)
    counter = torch._dynamo.utils.counters
    counter.clear()
    graphs = []
    for batch, expected in zip(batches, dense, strict=True):
        real = (batch.segment_BL >= 0)[..., None]
        difference = (model.hidden(batch) - expected).masked_fill(~real, 0).float()
        assert float(difference.norm() / expected.float().norm()) < 2e-2
        graphs.append(counter["stats"]["unique_graphs"])
    assert graphs == [2, 2, 2]


def test_every_weight_counts_in_the_total(
    tiny: ModelConfig, make_document: Callable[..., Positions], pack_rows: Callable[..., Batch]
) -> None:
    """The step's loss is linear in its weights, each with the sum and denominator that are its own."""
    config = dataclasses.replace(tiny, user_audio=True)
    batch = pack_rows([[make_document(config, 3)]], 256)
    with torch.no_grad():
        sums = InteractionModel(config)(batch, LossConfig())
    none = dataclasses.replace(LossConfig(), text=0.0, audio=0.0, balance=0.0, router_z=0.0)
    for name, value in (
        ("text", sums.text_sum / sums.text_weight),
        ("audio", sums.audio_sum / sums.audio_weight),
        ("user_audio", sums.user_audio_sum / sums.user_audio_weight),
        ("balance", sums.balance / sums.positions),
        ("router_z", sums.router_z / sums.positions),
    ):
        only = dataclasses.replace(sums, weights=dataclasses.replace(none, **{name: 2.0}))
        assert float(value) > 0
        assert float(only.total(sums.denominators)) == pytest.approx(2 * float(value), rel=1e-5), name
