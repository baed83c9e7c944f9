"""Runs that train products of low rank beside frozen weights."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from corpus.schemas.errors import FormatError, SettingsError
from corpus.trainer.config import RunConfig
from corpus.trainer.data.loader import Loader
from corpus.trainer.model.low_rank import merged
from corpus.trainer.model.model import InteractionModel
from corpus.trainer.train.export import export
from corpus.trainer.train.exported import load_exported
from corpus.trainer.train.load_model import load_model
from corpus.trainer.train.loop import train_model

SmallRun = Callable[..., RunConfig]


def size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


@pytest.fixture(scope="module")
def base(small_run: SmallRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lora")
    train_model(small_run("steps=3"), folder / "run", talk=print)
    export(folder / "run", folder / "model")
    return folder


def lora(small_run: SmallRun, base: Path, *pairs: str) -> RunConfig:
    more = ("model.lora_rank=2", "optim.schedule=constant", "optim.lr=0.01")
    return small_run(f"init={base / 'model'}", *more, *pairs)


def test_merged_weights_say_the_same(small_run: SmallRun) -> None:
    config = small_run("model.lora_rank=3")
    model = InteractionModel(config.model, seed=1).double().eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith(".up"):
                assert not weight.any()
                weight.normal_()
    plain = InteractionModel(small_run().model).double().eval()
    plain.load_state_dict(merged(model.state_dict()))
    batch, _ = next(iter(Loader(config, ahead=0)))
    with torch.no_grad():
        one, other = model.hidden(batch), plain.hidden(batch)
    assert torch.allclose(one, other, rtol=0, atol=1e-10) and one.std() > 0.1


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_only_low_ranks_are_trained_and_kept(
    small_run: SmallRun, base: Path, tmp_path: Path, optimizer: str
) -> None:
    config = lora(small_run, base, "steps=4", f"optim.optimizer={optimizer}", "model.lora_targets=query,out")
    train_model(config, tmp_path / "run", talk=print)
    before, (after, changed) = load_exported(base / "model")[0].state_dict(), load_model(tmp_path / "run")
    assert changed.model.lora_rank == 0
    moved = {name for name, value in after.state_dict().items() if not torch.equal(value, before[name])}
    layers = range(config.model.layers)
    assert moved == {f"blocks.{n}.attention.{name}" for n in layers for name in ("query", "out")}
    for name in moved:
        assert torch.linalg.matrix_rank(after.state_dict()[name] - before[name], rtol=1e-3) <= 2
    assert size(tmp_path / "run" / "checkpoints") < size(base / "run" / "checkpoints") / 10
    export(tmp_path / "run", tmp_path / "model")
    again = load_exported(tmp_path / "model")[0].state_dict()
    assert again.keys() == before.keys()
    assert all(torch.equal(again[name], value) for name, value in after.state_dict().items())


def test_it_goes_on_as_if_never_stopped(small_run: SmallRun, base: Path, tmp_path: Path) -> None:
    for steps in (2, 4):
        train_model(lora(small_run, base, f"steps={steps}"), tmp_path / "parts", talk=print)
    train_model(lora(small_run, base, "steps=4"), tmp_path / "whole", talk=print)
    one, other = (load_model(tmp_path / name)[0].state_dict() for name in ("parts", "whole"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_its_base_is_checked(small_run: SmallRun, base: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="needs base weights"):
        train_model(small_run("model.lora_rank=2"), tmp_path / "none", talk=print)
    with pytest.raises(FormatError, match="export first"):
        train_model(small_run("model.lora_rank=2", f"init={base / 'run'}"), tmp_path / "run", talk=print)
    shutil.copytree(base / "model", tmp_path / "model")
    config = small_run(f"init={tmp_path / 'model'}", "model.lora_rank=2", "steps=1")
    train_model(config, tmp_path / "kept", talk=print)
    weights = tmp_path / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(FormatError, match="base weights"):
        load_model(tmp_path / "kept")
    with pytest.raises(FormatError, match="base weights"):
        train_model(config, tmp_path / "kept", talk=print)


def test_targets_are_checked(small_run: SmallRun) -> None:
    with pytest.raises(SettingsError, match="lora_targets is query, keys"):
        small_run("model.lora_targets=query,keys")
