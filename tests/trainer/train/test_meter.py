from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from corpus.trainer.config import LossConfig, ModelConfig
from corpus.trainer.data.loader import LoaderState
from corpus.trainer.data.noise import NoiseKey
from corpus.trainer.data.sequence import Batch, Positions
from corpus.trainer.model.batch_stats import TEXT_SUMS
from corpus.trainer.model.loss_sums import LossSums
from corpus.trainer.model.model import InteractionModel
from corpus.trainer.train.log_line import LogLine
from corpus.trainer.train.meter import LastStep, Meter


def state(positions: int, padding: int, **counts: int) -> LoaderState:
    return LoaderState(dataset="", settings="", seed=0, positions=positions, padding=padding, **counts)


def sums(text: float, audio: float, weight: float, load: list[list[int]], **told: float) -> LossSums:
    return LossSums(
        text_sum=torch.tensor(text),
        text_weight=torch.tensor(weight),
        audio_sum=torch.tensor(audio),
        audio_weight=torch.tensor(2 * weight),
        user_audio_sum=torch.tensor(3 * audio),
        user_audio_weight=torch.tensor(4 * weight),
        cues_sum=torch.tensor(5 * audio),
        cues_weight=torch.tensor(2 * weight),
        balance=torch.tensor(3.0),
        router_z=torch.zeros(()),
        positions=torch.tensor(6.0),
        load_NE=torch.tensor(load),
        spoken_NE=torch.tensor(load) // 2,
        margin_N=torch.tensor([0.5, 1.0], dtype=torch.float64),
        text_S=torch.tensor([told.get(name, 0.0) for name in TEXT_SUMS], dtype=torch.float64),
        nats_N=torch.zeros(0),
        weights=LossConfig(),
    )


def line_of(
    meter: Meter, before: LoaderState, after: LoaderState, *, last: dict[str, Any] | None = None, **rest: Any
) -> LogLine:
    step = LastStep(step=2, grad_norm=1.0, lr=0.1, skipped=1, **(last or {}))
    return meter.line(before, after, step, **rest)


def test_sums_become_means_over_all_micro_batches() -> None:
    times = iter([100.0, 104.0])
    weights = LossConfig(text=2.0, user_audio=0.5, balance=0.5)
    meter = Meter(weights, first_layer=3, top_k=2, clock=lambda: next(times))
    meter.add(sums(6.0, 1.0, 1.0, [[1, 3], [2, 2]], nats_control=3.0, control=4, speaks=1, onset=1))
    meter.add(sums(2.0, 5.0, 3.0, [[1, 3], [2, 2]], nats_control=1.0, control=4, speaks=1, nats_onset=9))
    meter.step(counts=True)
    meter.add(sums(torch.nan, 1.0, 1.0, [[9, 0], [9, 0]], nats_control=torch.nan))
    meter.step(counts=False)
    meter.windows += 40
    meter.waited_s = 0.5
    meter.flops = 8e9
    before = state(100, 10, text=50, text_spilled=5, text_left=2)
    after = state(280, 30, text=68, text_spilled=10, text_later=2, text_left=3, text_before=1)
    made = line_of(meter, before, after, peak_flops=1e10, gpu_peak_bytes=7)
    assert (made.text, made.audio, made.user_audio, made.balance) == (2.0, 0.75, 1.125, 0.5)
    assert made.loss == pytest.approx(2 * 2.0 + 0.75 + 0.5625 + 0.25)
    assert (made.nats_control, made.nats_onset, made.nats_words, made.speaking) == (0.5, 9.0, None, 0.25)
    assert (made.positions, made.positions_per_s) == (280, 45.0)
    assert made.audio_hours_per_hour == 2.0
    assert made.data_wait_ms == 250.0
    assert (made.mfu, made.gpu_peak_bytes) == (0.2, 7)
    assert made.padding == 0.1
    assert (made.text_spilled, made.text_lost) == (round(5 / 18, 4), 0.1)
    assert made.text_later == round(2 / 18, 4)
    assert made.expert_load == 1.5
    first, second = made.layers
    entropy = -(0.25 * math.log2(0.25) + 0.75 * math.log2(0.75))
    assert (first.layer, first.load, first.load_speaking, first.dead) == (3, 1.5, 2.0, 0)
    assert first.entropy == pytest.approx(entropy, abs=1e-4)
    assert (second.layer, second.load, second.entropy) == (4, 1.0, 1.0)
    assert (first.margin, second.margin) == (0.25, 0.5)


def test_an_expert_without_tokens_is_dead() -> None:
    meter = Meter(LossConfig())
    meter.add(sums(1.0, 1.0, 1.0, [[8, 0], [1, 1]]))
    meter.step(counts=True)
    made = line_of(meter, state(0, 0), state(1, 0))
    assert [layer.dead for layer in made.layers] == [1, 0]
    assert [layer.load_speaking for layer in made.layers] == [2.0, None]
    assert made.layers[0].entropy == 0


def test_without_a_counted_step_there_is_nothing_to_tell() -> None:
    made = line_of(Meter(LossConfig()), state(0, 0), state(1, 0))
    assert (made.loss, made.text, made.nats_onset, made.expert_load, made.update) == (None,) * 5
    assert made.layers == () and made.schema == "corpus.log/4"


def test_norms_are_roots_of_sums() -> None:
    gradients = torch.tensor([4.0, 0.0, 9.0], dtype=torch.float64)
    moved = torch.tensor([[4.0, 1.0, 0.0, 1.0], [400.0, 100.0, 0.0, 25.0]], dtype=torch.float64)
    made = line_of(
        Meter(LossConfig()), state(0, 0), state(1, 0), last={"gradients": gradients, "movement": moved}
    )
    assert (made.grad_norm_experts, made.grad_norm_router, made.grad_norm_embeddings) == (2.0, None, 3.0)
    assert (made.update, made.update_experts, made.update_router) == (0.1, 0.1, None)
    assert made.update_embeddings == 0.2


def test_a_line_is_the_same_however_rows_are_split(
    tiny: ModelConfig, make_document: Callable[..., Positions], pack_rows: Callable[..., Batch]
) -> None:
    """Four rows in one micro-batch, or in two: every number of the line, and every layer's."""
    model = InteractionModel(dataclasses.replace(tiny, audio_head="flow")).double()
    rows = [[make_document(tiny, turns, turns)] for turns in (3, 5, 4, 2)]

    def line(size: int) -> dict[str, Any]:
        meter = Meter(LossConfig(), first_layer=1, top_k=2, clock=lambda: 0.0)
        for start in range(0, 4, size):
            batch = pack_rows(rows[start : start + size], 200)
            with torch.no_grad():
                numbers = torch.arange(start, start + size)
                meter.add(model(batch, LossConfig(), NoiseKey(seed=1, step=2), numbers))
        meter.step(counts=True)
        plain = dataclasses.asdict(line_of(meter, state(0, 0), state(9, 0)))
        for layer in plain.pop("layers"):
            plain |= {f"{layer['layer']}/{key}": value for key, value in layer.items()}
        return {key: value for key, value in plain.items() if isinstance(value, (int, float))}

    whole = line(4)
    assert {"nats_control", "nats_onset", "nats_words", "nats_end", "speaking", "1/margin"} < set(whole)
    for size in (1, 2):
        assert line(size) == pytest.approx(whole, rel=1e-12)
