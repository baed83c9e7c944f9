from __future__ import annotations

from pathlib import Path

import pytest

from corpus.schemas.errors import FormatError, SettingsError, UsageError
from corpus.trainer.overrides import with_overrides
from corpus.trainer.presets import preset
from corpus.trainer.train.run_file import RunFile, read_run, write_run


def test_values_of_every_kind() -> None:
    pairs = ["steps=7", "optim.lr=3e-4", "compile=true", "model.attention_window_s=20", "data.split=7"]
    pairs += ["optim.betas=0.8,0.99", "optim.ema_decay=0.5", "optim.optimizer=muon"]
    changed = with_overrides(preset("tiny"), pairs)
    assert (changed.steps, changed.optim.lr, changed.compile) == (7, 3e-4, True)
    assert (changed.model.attention_window_s, changed.data.split) == (20.0, "7")
    assert (changed.optim.betas, changed.optim.ema_decay, changed.optim.optimizer) == (
        (0.8, 0.99),
        0.5,
        "muon",
    )
    assert with_overrides(changed, ["optim.ema_decay=none"]).optim.ema_decay is None


def test_nothing_given_changes_nothing() -> None:
    assert with_overrides(preset("base"), []) == preset("base")


@pytest.mark.parametrize(
    ("key", "near"),
    [("stepz", "steps"), ("lr", "optim.lr"), ("model.witdh", "model.width"), ("rows", "data.rows")],
)
def test_an_unknown_key_names_the_nearest(key: str, near: str) -> None:
    with pytest.raises(UsageError, match=near):
        with_overrides(preset("tiny"), [f"{key}=3"])


@pytest.mark.parametrize("pair", ["steps", "preset=small", "schema=x", "model=3", "qqqqqqq=1"])
def test_what_is_no_setting(pair: str) -> None:
    with pytest.raises(UsageError):
        with_overrides(preset("tiny"), [pair])


@pytest.mark.parametrize(
    "pair",
    [
        "steps=many",
        "steps=1.5",
        "steps=0",
        "optim.optimizer=sgd",
        "optim.clip=0",
        "optim.lr=nan",
        "optim.betas=0.9",
        "model.top_k=9",
        "model.balance_rate=-0.001",
        "model.balance_rate=1.5",
        "model.balance_rate=nan",
        "model.response_delay=-1",
        "compile=1",
        "optim.ema_decay=1",
        "optim.eps=0",
        "optim.weight_decay=-1",
        "loss.audio=-1",
        "data.rows=0",
        "data.workers=0",
        "data.seed=-1",
        "model.layers=1000000000",
        "model.attention_window_s=1e308",
        "model.rope_theta=Infinity",
        "loss.onset=1e308",
        "data.tokenizer=a\0b",
        "data.data=a\0b",
        "model.vocab=1000000000000",
        "model.width=0",
        "model.width=-8",
        "model.width=60",
        "model.expert_width=36",
        "model.layers=0",
        "model.dense_layers=3",
        "model.kv_heads=0",
        "model.head_dim=0",
        "model.head_dim=8",
        "model.dense_width=-1",
        "model.frames_per_position=0",
        "model.picture_rows=-1",
        "model.patch_pixels=0",
        "model.text_slots=-1",
        "model.sink_turns=-1",
        "model.attention_window_s=0",
        "model.rope_theta=0",
        "model.norm_eps=0",
        "model.flow_steps=0",
        "model.depth_groups=0",
        "model.depth_width=200",
    ],
)
def test_a_wrong_value_says_which(pair: str) -> None:
    with pytest.raises(SettingsError) as caught:
        with_overrides(preset("tiny"), [pair])
    assert pair.partition("=")[0].rsplit(".", 1)[-1] in str(caught.value)


def test_the_run_file_comes_back_the_same(tmp_path: Path) -> None:
    file = RunFile(dataset="d" * 64, torch="2.11", config=with_overrides(preset("tiny"), ["steps=9"]))
    write_run(tmp_path, file)
    assert read_run(tmp_path) == file
    (tmp_path / "config.json").write_text('{"schema": "corpus.run-file/1"}')
    with pytest.raises(FormatError, match="missing"):
        read_run(tmp_path)
    with pytest.raises(UsageError, match="is not a run"):
        read_run(tmp_path / "elsewhere")
