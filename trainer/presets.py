"""Named models. Parameter counts are asserted on the meta device in tests/trainer/test_presets.py."""

from __future__ import annotations

from dataclasses import replace

from corpus.schemas.errors import UsageError
from corpus.trainer.config import DataConfig, ModelConfig, OptimConfig, RunConfig

MODELS = {
    "tiny": ModelConfig(
        width=64,
        layers=2,
        dense_layers=1,
        heads=4,
        kv_heads=2,
        head_dim=16,
        experts=4,
        top_k=2,
        expert_width=64,
        shared_width=64,
        dense_width=192,
        vocab=512,
        tied=True,
        flow_width=64,
        flow_layers=2,
        depth_width=64,
    ),
    "small": ModelConfig(
        width=768,
        layers=12,
        dense_layers=1,
        heads=12,
        kv_heads=4,
        head_dim=64,
        experts=32,
        top_k=4,
        expert_width=512,
        shared_width=512,
        dense_width=2048,
        vocab=32_768,
        tied=True,
        flow_width=512,
    ),
    "base": ModelConfig(
        width=2048,
        layers=16,
        dense_layers=1,
        heads=16,
        kv_heads=4,
        head_dim=128,
        experts=32,
        top_k=6,
        expert_width=768,
        shared_width=768,
        dense_width=6144,
        vocab=65_536,
        tied=False,
    ),
    "tml-276b-a12b": ModelConfig(
        width=4096,
        layers=56,
        dense_layers=2,
        heads=32,
        kv_heads=4,
        head_dim=128,
        experts=320,
        top_k=10,
        expert_width=1280,
        shared_width=0,
        dense_width=12_288,
        vocab=200_064,
        tied=False,
        audio_head="flow",
        flow_width=2048,
    ),
}


def _in_rows(name: str, *, picture_every: int, attention_window_s: float) -> ModelConfig:
    """A model that can talk for hours although it is trained on short rows.

    A row holds a whole clip (149 micro-turns) with its pictures. The attention window is at most half of that
    and has no sinks, so training contains what a long talk consists of: queries that see a full window but
    not the beginning. Without the window, loss rises beyond a row's length (benchmarks/RESULTS.md).
    """
    return replace(
        MODELS[name],
        picture_every=picture_every,
        attention_window_s=attention_window_s,
        sink_turns=0,
    )


_RUNS = {
    "tiny": RunConfig(
        model=_in_rows("tiny", picture_every=10, attention_window_s=10.0),
        preset="tiny",
        data=DataConfig(length=2560, rows=1),
    ),
    "small": RunConfig(
        model=_in_rows("small", picture_every=3, attention_window_s=15.0),
        preset="small",
        data=DataConfig(length=4096, rows=32, workers=8),
        optim=OptimConfig(lr=6e-4, warmup_steps=500),
        steps=20_000,
        accumulate=4,
        precision="bf16",
        save_every=500,
    ),
    "base": RunConfig(
        model=_in_rows("base", picture_every=3, attention_window_s=15.0),
        preset="base",
        data=DataConfig(length=4096, rows=32, workers=8),
        optim=OptimConfig(lr=3e-4, warmup_steps=1000),
        steps=50_000,
        accumulate=8,
        precision="bf16",
        compile=True,
        save_every=500,
    ),
    "tml-276b-a12b": RunConfig(
        model=_in_rows("tml-276b-a12b", picture_every=1, attention_window_s=15.0),
        preset="tml-276b-a12b",
        data=DataConfig(length=8192, rows=2048, workers=8),
        optim=OptimConfig(optimizer="muon", lr=2e-4, warmup_steps=2000),
        steps=100_000,
        precision="bf16",
        compile=True,
        recompute="exchange",
        expert_parallel=8,
    ),
}


def preset(name: str) -> RunConfig:
    """The configuration of a preset. Raises: UsageError for an unknown name."""
    if name not in _RUNS:
        raise UsageError(f"no preset {name!r}", todo=f"one of {', '.join(_RUNS)}")
    return _RUNS[name]
