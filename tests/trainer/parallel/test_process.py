"""A run's folder: held by one process, left as it was found where nothing came of it."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from corpus.schemas import files
from corpus.schemas.errors import DatasetError, LockedError
from corpus.schemas.files import write_whole
from corpus.trainer.config import RunConfig
from corpus.trainer.parallel import process
from corpus.trainer.parallel.process import locked
from corpus.trainer.train.loop import train_model


def test_a_run_that_is_refused_leaves_no_folder(small_run: Callable[..., RunConfig], tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    for run in (tmp_path / "new" / "run", tmp_path / "there"):
        with pytest.raises(DatasetError, match="no clips"):
            train_model(small_run("data.split=nowhere"), run, talk=print)
    assert [path.name for path in tmp_path.rglob("*")] == ["there"]


def test_what_stands_in_a_folder_stays(tmp_path: Path) -> None:
    with locked(tmp_path / "run"):
        (tmp_path / "run" / "log.jsonl").write_text("x")
    assert sorted(os.listdir(tmp_path / "run")) == [".lock", "log.jsonl"]


def test_who_is_refused_the_lock_takes_nothing_away(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with locked(run):
        with pytest.raises(LockedError, match="another process"), locked(run):
            pass
        assert os.listdir(run) == [".lock"]
    assert not run.exists()


def test_a_lock_on_a_file_that_was_taken_away_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between opening and locking, its holder ends, and another makes and locks a new one."""
    lock = fcntl.flock

    def late(handle: int, how: int) -> None:
        (tmp_path / ".lock").unlink()
        (tmp_path / ".lock").touch()
        lock(handle, how)

    monkeypatch.setattr(process.fcntl, "flock", late)
    with pytest.raises(LockedError), locked(tmp_path):
        pass
    assert (tmp_path / ".lock").exists()


def test_a_file_that_does_not_fit_leaves_the_old_one_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_whole(tmp_path / "a", b"old")

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_whole(tmp_path / "a", b"new")
    assert os.listdir(tmp_path) == ["a"] and (tmp_path / "a").read_bytes() == b"old"
