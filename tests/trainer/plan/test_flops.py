"""Counted operations against those torch counts in a real step, and against pairs counted one by one."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from corpus.trainer.config import LossConfig, ModelConfig, RunConfig
from corpus.trainer.data.layout import Turns, beginning, concat, lay_out
from corpus.trainer.data.pack import collate
from corpus.trainer.data.sequence import Batch, Positions
from corpus.trainer.model.attention_mask import Sight, dense_mask
from corpus.trainer.model.model import InteractionModel
from corpus.trainer.plan.flops import GPUS, flops_of, peak_flops, training, work_of
from corpus.trainer.presets import MODELS, preset

LENGTH = 256


def run_of(**changes: Any) -> RunConfig:
    base = preset("tiny")
    small = {"picture_rows": 1, "picture_columns": 2, **changes}
    model = dataclasses.replace(MODELS["tiny"], **small)
    loss = LossConfig(user_audio=0.1 * model.user_audio)
    data = dataclasses.replace(base.data, length=LENGTH)
    return dataclasses.replace(base, model=model, data=data, loss=loss)


def document(model: ModelConfig, turns: int, seed: int) -> Positions:
    rng = np.random.default_rng(seed)
    shape = (turns, model.frames_per_window, model.mel_bins)
    speak = rng.random(turns) < 0.5
    pixels = (model.patches, 40, 40, 3)
    made = Turns(
        heard_NFM=rng.integers(0, 256, shape, np.uint8),
        pictures=[rng.integers(0, 256, pixels, np.uint8) if rng.random() < 0.5 else None for _ in speak],
        given=[(30, 31) if rng.random() < 0.3 else () for _ in speak],
        speak_N=speak,
        written=[(40, 41) if s and rng.random() < 0.5 else () for s in speak],
        sound_NFM=rng.integers(0, 256, shape, np.uint8),
        heard_known_NF=np.ones(shape[:2], bool),
        audible_NF=np.ones(shape[:2], bool),
        known_N=np.ones(turns, bool),
        spoke_before=False,
    )
    return concat([beginning(model), lay_out(made, model, LossConfig())])


def batch_of(config: RunConfig) -> Batch:
    model = config.model
    rows = [[document(model, 9, 0), document(model, 6, 1)], [document(model, 14, 2)]]
    return collate(rows, config)


def grouped(a: Any, b: Any, *_: Any, **__: Any) -> int:
    """Rows by their expert's matrix; or, for the weights' gradient, columns by rows of the same group."""
    return 2 * a[0] * a[1] * b[-1]


@pytest.mark.parametrize("head", ["dmel", "flow", "depth"])
@pytest.mark.parametrize(("tied", "listens"), [(True, False), (False, False), (True, True)])
def test_counts_what_torch_counts(head: str, tied: bool, listens: bool) -> None:
    """Torch sees whole squares of attention, padded lists and padded rows, so it is given these counts."""
    config = run_of(audio_head=head, tied=tied, user_audio=listens)
    model = InteractionModel(config.model).train()
    batch = batch_of(config)
    mapping = {torch.ops.aten._grouped_mm: grouped}
    with (
        FlopCounterMode(display=False, custom_mapping=mapping) as counter,
        sdpa_kernel(SDPBackend.MATH),
    ):
        sums = model(batch, config.loss)
        sums.total(sums.denominators).backward()
    asked = dataclasses.replace(
        work_of(batch, config.model),
        positions=2 * LENGTH,
        pairs=2 * LENGTH * LENGTH,
        audio_targets=len(batch.audio_target_at_T),
        sounds=len(batch.audio_at_A),
        patches=len(batch.patch_at_P),
    )
    parts = training(config.model, asked)
    # Inside the depth head torch counts whole squares too.
    tolerance = 0.02 if head == "depth" else 1e-3
    assert counter.get_total_flops() == pytest.approx(parts.executed, rel=tolerance)
    assert parts.needed == parts.executed - parts.sound_bag - parts.again
    # A window has four positions of heard sound, told by a product of 64 by 2 x 80 x 16 values each.
    assert parts.user_audio_head == listens * 29 * 4 * 6 * 64 * 2560


@pytest.mark.parametrize("window", [None, 0.4, 1.0])
@pytest.mark.parametrize("sinks", [0, 1, 3])
def test_pairs_are_those_of_the_mask(window: float | None, sinks: int) -> None:
    config = run_of(attention_window_s=window, sink_turns=sinks)
    batch = batch_of(config)
    work = work_of(batch, config.model)
    mask = dense_mask(batch.segment_BL, batch.turn_BL, Sight.of(config.model))[:, 0]
    real = batch.segment_BL >= 0
    assert work.pairs == int((mask & real[:, :, None]).sum())
    assert work.positions == int(real.sum()) < 2 * LENGTH


def test_padding_costs_nothing() -> None:
    config = run_of()
    documents = [document(config.model, 9, 0)]
    longer = dataclasses.replace(config, data=dataclasses.replace(config.data, length=600))
    assert flops_of(config, collate([documents], config)) == flops_of(longer, collate([documents], longer))


def test_base_needs_what_was_calculated() -> None:
    """A row of 4096: 5.27 GF a position, 4.21 linear, 0.81 attention, text at 0.3 and audio at 0.25."""
    model, length = MODELS["base"], 4096
    config = run_of()
    work = dataclasses.replace(
        work_of(batch_of(config), config.model),
        positions=length,
        pairs=length * (length + 1) / 2,
        text_targets=0.3 * length,
        audio_targets=0.25 * length,
        patches=0,
    )
    parts = training(model, work)
    linear = parts.projections + parts.dense + parts.experts + parts.router
    assert linear / length / 1e9 == pytest.approx(4.21, abs=0.03)
    assert parts.attention / length / 1e9 == pytest.approx(0.81, abs=0.01)
    assert parts.needed / length / 1e9 == pytest.approx(5.27, abs=0.05)


def test_peaks() -> None:
    assert peak_flops("NVIDIA H100 80GB HBM3") == 989.5e12
    assert peak_flops("NVIDIA H200") == GPUS["h200"].bf16_flops
    assert peak_flops("NVIDIA GH200 480GB") == 989.5e12
    assert peak_flops("NVIDIA A100-SXM4-80GB") == 312e12
    assert peak_flops("Radeon") is None


def test_slower_cards_of_the_same_name_are_told_apart() -> None:
    """Half again as much MFU would be claimed for an H100 on PCIe else."""
    assert peak_flops("NVIDIA H100 PCIe") == 756e12
    assert peak_flops("NVIDIA H100 NVL") == peak_flops("NVIDIA H200 NVL") == 835e12
