"""Parameter counts of the presets, by hand formula against the model on the meta device."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from corpus.trainer.config import ModelConfig
from corpus.trainer.model.model import InteractionModel
from corpus.trainer.presets import MODELS

STREAMS = 8


def attention(c: ModelConfig) -> int:
    inner, shared = c.heads * c.head_dim, c.kv_heads * c.head_dim
    return 2 * c.width * inner + 2 * c.width * shared + c.width + 2 * c.head_dim


def feed_forward(c: ModelConfig, inner: int) -> int:
    return 3 * c.width * inner


def mixture_without_routed(c: ModelConfig) -> int:
    return c.experts * c.width + feed_forward(c, c.shared_width) + c.width


def embeddings(c: ModelConfig) -> int:
    sound = c.frames_per_position * c.mel_bins * (c.audio_levels + 1) * c.width
    quarter = c.width // 4
    patch = 75 * quarter + 2 * 4 * quarter * quarter + 4 * quarter * c.width + 3 * quarter
    return STREAMS * c.width + sound + patch


def audio_head(c: ModelConfig) -> int:
    frames = c.frames_per_position * c.mel_bins
    if c.audio_head == "dmel":
        return c.width * frames * c.audio_levels
    w = c.flow_width
    block = 3 * w * w + 2 * w * w
    return 2 * frames * w + c.width * w + 256 * w + c.flow_layers * block + 2 * w * w


def counts(c: ModelConfig) -> tuple[int, int]:
    """All parameters; and those one position uses: top_k experts, and no table of input tokens."""
    mixtures = c.layers - c.dense_layers
    trunk = c.layers * attention(c) + c.dense_layers * (feed_forward(c, c.dense_width) + c.width)
    trunk += mixtures * mixture_without_routed(c) + c.width
    text = c.vocab * c.width
    common = trunk + embeddings(c) + audio_head(c) + text
    expert = feed_forward(c, c.expert_width)
    untied = 0 if c.tied else text
    return common + untied + mixtures * c.experts * expert, common + mixtures * c.top_k * expert


def on_meta(config: ModelConfig) -> InteractionModel:
    with torch.device("meta"):
        return InteractionModel(config)


@pytest.mark.parametrize("name", MODELS)
def test_the_formula_counts_the_model(name: str) -> None:
    model = on_meta(MODELS[name])
    assert sum(parameter.numel() for parameter in model.parameters()) == counts(MODELS[name])[0]


def test_counts_of_the_presets() -> None:
    """In millions, as documented. The 276 B and 12 B are the article's; the split is ours."""
    rounded = {name: tuple(round(n / 1e6, 2) for n in counts(config)) for name, config in MODELS.items()}
    assert rounded["tiny"] == (0.50, 0.48)
    assert rounded["small"][0] == pytest.approx(482, abs=0.5)
    assert rounded["base"][0] == pytest.approx(2830, abs=5)
    assert rounded["tml-276b-a12b"][0] == pytest.approx(276_100, abs=50)
    assert rounded["tml-276b-a12b"][1] == pytest.approx(11_980, abs=5)


def test_a_model_made_on_meta_can_be_initialised_later(tiny: ModelConfig) -> None:
    for head in ("dmel", "flow", "depth"):
        model = on_meta(dataclasses.replace(tiny, audio_head=head))
        assert all(parameter.is_meta for parameter in model.parameters())
        model.to_empty(device="cpu")
        model.initialise(0)
        values = torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
        assert bool(values.isfinite().all())
        assert model.embed.sound.level_of_byte.values[255] == tiny.audio_levels - 1
