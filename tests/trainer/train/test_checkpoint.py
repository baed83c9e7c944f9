from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.distributed.checkpoint import FileSystemWriter

from corpus.schemas.clip import MelForm
from corpus.schemas.errors import DatasetError, FormatError, NewerSchemaError, StorageError, UsageError
from corpus.trainer.config import RunConfig
from corpus.trainer.data import noise
from corpus.trainer.data.loader import LoaderState
from corpus.trainer.presets import MODELS
from corpus.trainer.train import checkpoint, checkpoint_saver
from corpus.trainer.train.checkpoint import Meta, candidates, choose, load_tensors, read_meta
from corpus.trainer.train.checkpoint_saver import Saver
from corpus.trainer.train.load_model import load_model
from corpus.trainer.train.loop import train_model

Beside = Callable[[list[str]], list[str]]
LOADER = LoaderState(dataset="d" * 64, settings="s" * 64, seed=0)


def meta(step: int) -> Meta:
    model = MODELS["tiny"]
    return Meta(
        step=step,
        model=model,
        optimizer="adamw",
        average=False,
        trained_windows=50,
        loader=LOADER,
        config="c" * 64,
    )


def saver(run: Path, said: list[str], keep: int = 3) -> Saver:
    return Saver(run, keep, first=True, group=None, talk=said.append)


def tensors(step: int) -> dict[str, Any]:
    return {"model": {"a": torch.full((4, 3), float(step)), "b": torch.arange(5) + step}}


def saved(run: Path, *steps: int, keep: int = 9) -> None:
    made = saver(run, [], keep)
    for step in steps:
        made.save(tensors(step), meta(step))
    assert made.wait()


def test_what_was_saved_comes_back(tmp_path: Path) -> None:
    saved(tmp_path, 7)
    found = choose(tmp_path, talk=print)
    assert found is not None
    path, read = found
    assert path.name == "step-00000007" and read.files and read.loader == LOADER
    into = tensors(0)
    load_tensors(path, read_meta(path), into)
    assert torch.equal(into["model"]["a"], tensors(7)["model"]["a"])
    assert torch.equal(into["model"]["b"], tensors(7)["model"]["b"])


def test_training_may_go_on_while_it_is_written(tmp_path: Path) -> None:
    made = saver(tmp_path, [])
    held = {"model": {"a": torch.ones(500_000)}}
    made.save(held, meta(1))
    held["model"]["a"].fill_(9.0)
    assert made.wait()
    into = {"model": {"a": torch.zeros(500_000)}}
    path = candidates(tmp_path)[0]
    load_tensors(path, read_meta(path), into)
    assert (into["model"]["a"] == 1).all()


def test_copies_of_a_gpu_lie_where_the_last_ones_did(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU, but not pinned: memory is taken by the first save, and every save is of its moment."""
    taken = []
    monkeypatch.setattr(checkpoint_saver, "_on_gpu", lambda _: True)
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: taken.append(self) or self)
    made = saver(tmp_path, [])
    held = {"model": {"a": torch.ones(500_000), "b": torch.zeros(0)}, "optimizer": {"steps": torch.zeros(())}}
    for step in (1, 2, 3):
        held["model"]["a"].fill_(step)
        held["optimizer"]["steps"].fill_(step)
        made.save(held, meta(step))
        held["model"]["a"].fill_(9)
        assert made.wait()
    assert len(taken) == 1
    for step, path in zip((3, 2, 1), candidates(tmp_path), strict=True):
        into = {"model": {"a": torch.zeros(500_000)}, "optimizer": {"steps": torch.zeros(())}}
        load_tensors(path, read_meta(path), into)
        assert (into["model"]["a"] == step).all() and into["optimizer"]["steps"] == step


def test_the_last_few_are_kept(tmp_path: Path) -> None:
    saved(tmp_path, 1, 2, 3, 4, keep=2)
    assert [path.name for path in candidates(tmp_path)] == ["step-00000004", "step-00000003"]
    assert sorted(os.listdir(tmp_path / "checkpoints")) == ["LATEST", "step-00000003", "step-00000004"]


def test_a_damaged_newer_one_never_costs_the_one_just_written(tmp_path: Path) -> None:
    """A run that goes on from step 1, since 3 and 4 are damaged, and is stopped at step 2."""
    saved(tmp_path, 1, 3, 4)
    for step in (3, 4):
        _flip(tmp_path / "checkpoints" / f"step-0000000{step}")
    saved(tmp_path, 2, keep=1)
    found = choose(tmp_path, talk=print)
    assert found is not None and found[1].step == 2
    assert not (tmp_path / "checkpoints" / "step-00000001").exists()


def test_one_written_by_a_newer_version_is_not_passed_over(tmp_path: Path) -> None:
    """Nothing is wrong with it: going on from the one before would lose what was learnt since."""
    saved(tmp_path, 1, 2)
    newest = tmp_path / "checkpoints" / "step-00000002" / "meta.json"
    newest.write_text(newest.read_text().replace('"corpus.checkpoint/2"', '"corpus.checkpoint/9"'))
    said: list[str] = []
    with pytest.raises(NewerSchemaError, match="install a newer"):
        choose(tmp_path, talk=said.append)
    assert not said


def test_folders_of_other_names_are_nobodys_checkpoints(tmp_path: Path) -> None:
    saved(tmp_path, 1, 2)
    (tmp_path / "checkpoints" / "step-good").mkdir()
    (tmp_path / "checkpoints" / "LATEST").unlink()
    assert [path.name for path in candidates(tmp_path)] == ["step-00000002", "step-00000001"]


def test_one_that_latest_does_not_name_yet_is_not_taken(tmp_path: Path) -> None:
    saved(tmp_path, 1, 2, 3)
    (tmp_path / "checkpoints" / "LATEST").write_text("step-00000002\n")
    assert [path.name for path in candidates(tmp_path)] == ["step-00000002", "step-00000001"]
    saved(tmp_path, 3)
    assert candidates(tmp_path)[0].name == "step-00000003"


def test_latest_names_what_lies_there_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever reads LATEST while a checkpoint is being published finds the one it names."""
    named, write = [], checkpoint_saver.write_whole

    def noted(path: Path, data: bytes) -> None:
        write(path, data)
        if path.name == "LATEST":
            named.append(read_meta(path.parent / data.decode().strip()).step)

    monkeypatch.setattr(checkpoint_saver, "write_whole", noted)
    saved(tmp_path, 3, 6)
    assert named == [3, 6]


def test_leftovers_are_swept_up_and_no_checkpoint_is_none(tmp_path: Path) -> None:
    left = tmp_path / "checkpoints" / ".step-00000004.tmp"
    left.mkdir(parents=True)
    (left / "__0_0.distcp").write_bytes(b"half")
    assert choose(tmp_path, talk=print) is None
    saver(tmp_path, [])
    assert not left.exists()


def _flip(path: Path) -> None:
    (file,) = path.glob("*.distcp")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def _shorten(path: Path) -> None:
    (file,) = path.glob("*.distcp")
    os.truncate(file, file.stat().st_size // 2)


def _lose(path: Path) -> None:
    (path / "index.json").unlink()


def _scribble(path: Path) -> None:
    (path / "meta.json").write_text("{")


@pytest.mark.parametrize("damage", [_flip, _shorten, _lose, _scribble])
def test_a_damaged_one_gives_way_to_the_one_before(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    saved(tmp_path, 1, 2)
    damage(tmp_path / "checkpoints" / "step-00000002")
    said: list[str] = []
    found = choose(tmp_path, talk=said.append)
    assert found is not None and found[1].step == 1
    assert len(said) == 1 and "step-00000002" in said[0] and "the one before" in said[0]
    damage(tmp_path / "checkpoints" / "step-00000001")
    with pytest.raises(FormatError, match=r"none of its checkpoints is intact; step-00000002: \w"):
        choose(tmp_path, talk=said.append)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"step": -1}, "step is -1"),
        ({"trained_windows": -3}, "trained_windows is -3"),
        ({"loader": {"turn": -1}}, "loader.turn is -1"),
        ({"loader": None}, "loader"),
        ({"model": {"width": 0}}, "model.width is 0"),
        ({"files": [{"name": "a\0", "bytes": 0, "sha256": ""}]}, "not a file name"),
        ({"schema": "corpus.checkpoint/1", "loader": None}, "not of the form corpus.checkpoint/1"),
    ],
)
def test_what_no_training_writes_is_refused_with_its_reason(
    tmp_path: Path, change: dict[str, Any], says: str
) -> None:
    saved(tmp_path, 2)
    path = tmp_path / "checkpoints" / "step-00000002" / "meta.json"
    plain = json.loads(path.read_text())
    for name, value in change.items():
        plain[name] = {**plain[name], **value} if isinstance(value, dict) else value
    path.write_text(json.dumps(plain))
    with pytest.raises(FormatError) as caught:
        choose(tmp_path, talk=print)
    assert says in caught.value.what and "step-00000002" in caught.value.what


def test_a_run_with_a_damaged_checkpoint_ends_as_the_unbroken_one(
    small_run: Callable[..., RunConfig], tmp_path: Path, beside_progress: Beside
) -> None:
    for name in ("whole", "hurt"):
        train_model(small_run("steps=4", "save_every=2"), tmp_path / name, talk=print)
    _flip(tmp_path / "hurt" / "checkpoints" / "step-00000004")
    said: list[str] = []
    train_model(small_run("steps=4", "save_every=2"), tmp_path / "hurt", talk=said.append)
    assert len(beside_progress(said)) == 2 and beside_progress(said)[1] == "resuming from step 2"
    mine, theirs = (load_model(tmp_path / name)[0].state_dict() for name in ("whole", "hurt"))
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of saves, from 0, during which the disk is full."""
    full: list[int] = []
    count = iter(range(1_000))
    write = FileSystemWriter.write_data

    def maybe(self: Any, plan: Any, planner: Any) -> Any:
        if next(count) in full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(self, plan, planner)

    monkeypatch.setattr(FileSystemWriter, "write_data", maybe)
    return full


def test_a_full_disk_once_costs_one_checkpoint(
    small_run: Callable[..., RunConfig], tmp_path: Path, full_disk: list[int], beside_progress: Beside
) -> None:
    full_disk.append(1)
    said: list[str] = []
    result = train_model(small_run("save_every=2"), tmp_path, talk=said.append)
    assert result.step == 6
    (failure,) = beside_progress(said)
    assert "No space left" in failure and "the run goes on" in failure and "GB free there" in failure
    assert sorted(os.listdir(tmp_path / "checkpoints")) == ["LATEST", "step-00000002", "step-00000006"]


def test_a_disk_that_stays_full_ends_the_run_with_the_old_checkpoint(
    small_run: Callable[..., RunConfig], tmp_path: Path, full_disk: list[int]
) -> None:
    full_disk += range(1, 99)
    said: list[str] = []
    with pytest.raises(StorageError, match="the last good one is kept"):
        train_model(small_run("save_every=1"), tmp_path, talk=said.append)
    assert sorted(os.listdir(tmp_path / "checkpoints")) == ["LATEST", "step-00000001"]
    full_disk.clear()
    assert train_model(small_run("save_every=1"), tmp_path, talk=said.append).step == 6


def _rewrite(path: Path, **values: Any) -> None:
    plain = json.loads((path / "meta.json").read_text())
    (path / "meta.json").write_text(json.dumps({**plain, **values}))


def test_another_mel_clip_form_or_version_is_refused(
    small_run: Callable[..., RunConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small_run("steps=1")
    train_model(config, tmp_path, talk=print)
    (path,) = candidates(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "MEL_FORM", MelForm(bins=80, low=-9.0, step=0.04))
        with pytest.raises(DatasetError, match=r"low=-7\.3"):
            load_model(tmp_path)
    _rewrite(path, clips="corpus.clip/9")
    with pytest.raises(DatasetError, match=r"corpus\.clip/9"):
        train_model(config, tmp_path, talk=print)
    _rewrite(path, clips="corpus.clip/1", schema="corpus.checkpoint/9")
    with pytest.raises(NewerSchemaError):
        read_meta(path)


def test_load_model_says_what_is_missing(small_run: Callable[..., RunConfig], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a run"):
        load_model(tmp_path / "nowhere")
    train_model(small_run("steps=2", "save_every=1"), tmp_path, talk=print)
    with pytest.raises(FormatError, match=r"no checkpoint of step 9; it has 1, 2"):
        load_model(tmp_path, step=9)
    with pytest.raises(UsageError, match="no device 'abacus'"):
        load_model(tmp_path, device="abacus")
    if not torch.cuda.is_available():
        with pytest.raises(UsageError, match="no GPU here"):
            load_model(tmp_path, device="cuda")
    with pytest.raises(FormatError, match="no average"):
        load_model(tmp_path, ema=True)
    one, two = (load_model(tmp_path, step=step)[0] for step in (1, 2))
    assert not one.training and not torch.equal(one.norm.weight, two.norm.weight)


def test_nothing_is_drawn_that_a_checkpoint_overwrites(
    small_run: Callable[..., RunConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = ("optim.ema_decay=0.5", "optim.schedule=constant")
    train_model(small_run("steps=1", *more), tmp_path, talk=print)

    def drawn(*keys: Any, **more: Any) -> torch.Tensor:
        raise AssertionError("numbers were drawn")

    monkeypatch.setattr(noise, "normal_run", drawn)
    model, _ = load_model(tmp_path)
    average, _ = load_model(tmp_path, ema=True)
    for name, value in model.state_dict().items():
        assert bool(value.isfinite().all())
        torch.testing.assert_close(average.state_dict()[name], value, rtol=0, atol=1e-2)
    assert not torch.equal(average.norm.weight, model.norm.weight)
    assert train_model(small_run("steps=2", *more), tmp_path, talk=print).step == 2


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("a file")
    with pytest.raises(StorageError):
        saver(tmp_path, [])
