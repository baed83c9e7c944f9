"""Runs that begin with the weights of another."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from corpus.schemas.errors import FormatError, SettingsError, UsageError
from corpus.trainer.config import RunConfig
from corpus.trainer.train.export import export
from corpus.trainer.train.load_model import load_model
from corpus.trainer.train.loop import train_model

SmallRun = Callable[..., RunConfig]
STILL = ("steps=1", "optim.lr=0", "model.balance_rate=0")
"""Nothing is learnt: what it ends with is what it began with."""


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_model(run)[0].state_dict()


@pytest.fixture(scope="module")
def before(small_run: SmallRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("init")
    train_model(small_run("steps=3"), folder / "run", talk=print)
    export(folder / "run", folder / "model")
    return folder


@pytest.mark.parametrize("source", ["run", "model"])
def test_a_run_begins_with_other_weights(
    small_run: SmallRun, before: Path, tmp_path: Path, source: str
) -> None:
    said: list[str] = []
    config = small_run(*STILL, f"init={before / source}", "data.seed=7")
    result = train_model(config, tmp_path, talk=said.append)
    assert result.step == 1  # the step and the optimiser are new
    theirs, ours = weights(before / "run"), weights(tmp_path)
    assert theirs.keys() == ours.keys()
    assert all(torch.equal(theirs[name], ours[name]) for name in theirs)
    assert any("begins with the weights of" in line for line in said)
    drawn = tmp_path / "drawn"
    train_model(small_run(*STILL, "data.seed=7"), drawn, talk=print)
    assert not torch.equal(weights(drawn)["embed.stream"], ours["embed.stream"])


def test_a_head_it_lacks_is_drawn_and_told_of(small_run: SmallRun, before: Path, tmp_path: Path) -> None:
    said: list[str] = []
    config = small_run(*STILL, f"init={before / 'model'}", "loss.user_audio=0.1")
    train_model(config, tmp_path, talk=said.append)
    new = weights(tmp_path).keys() - weights(before / "run").keys()
    assert new and all(any(name in line and "starts at random" in line for line in said) for name in new)


def test_other_shapes_are_named_one_a_line(small_run: SmallRun, before: Path, tmp_path: Path) -> None:
    with pytest.raises(FormatError) as error:
        train_model(small_run("model.width=72", f"init={before / 'run'}"), tmp_path, talk=print)
    lines = error.value.what.splitlines()
    assert "embed.stream is [8, 64] there, [8, 72] here" in error.value.what
    assert lines[0] == f"{len(lines) - 1} weights are of other shapes:"
    assert "model.width=64" in error.value.todo


def test_another_vocabulary_is_named(small_run: SmallRun, before: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="its vocabulary has 512 tokens, this run's 520"):
        train_model(small_run("model.vocab=520", f"init={before / 'model'}"), tmp_path, talk=print)


@pytest.mark.parametrize("rank", [0, 2])
@pytest.mark.parametrize("change", ["missing", "shape", "scalar"])
def test_an_export_that_lacks_what_it_says_is_refused(
    small_run: SmallRun, before: Path, tmp_path: Path, change: str, rank: int
) -> None:
    shutil.copytree(before / "model", tmp_path / "model")
    file = tmp_path / "model" / "model.safetensors"
    weights = {name: value.clone() for name, value in load_file(file).items()}
    weights["embed.text"] = torch.zeros((3, 3) if change == "shape" else ())
    if change == "missing":
        del weights["embed.text"]
    save_file(weights, file)
    config = small_run("steps=1", f"init={tmp_path / 'model'}", f"model.lora_rank={rank}")
    with pytest.raises(FormatError, match=r"embed\.text is (missing|of another shape)"):
        train_model(config, tmp_path / "run", talk=print)


def test_what_is_neither_run_nor_model_is_said(small_run: SmallRun, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a run"):
        train_model(small_run(f"init={tmp_path}"), tmp_path / "run", talk=print)


def test_a_run_that_goes_on_needs_its_origin_no_more(
    small_run: SmallRun, before: Path, tmp_path: Path
) -> None:
    shutil.copytree(before / "model", tmp_path / "model")
    pairs = (f"init={tmp_path / 'model'}", "optim.schedule=constant")
    train_model(small_run("steps=2", *pairs), tmp_path / "run", talk=print)
    shutil.rmtree(tmp_path / "model")
    train_model(small_run("steps=4", *pairs), tmp_path / "run", talk=print)
    train_model(small_run("steps=4", *pairs, f"init={before / 'model'}"), tmp_path / "other", talk=print)
    one, other = weights(tmp_path / "run"), weights(tmp_path / "other")
    assert all(torch.equal(one[name], other[name]) for name in one)
