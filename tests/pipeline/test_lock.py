"""One build at a time, with and without `flock`; workers that stopped."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from corpus.pipeline import lock, watchdog
from corpus.pipeline.lock import is_locked, locked
from corpus.pipeline.state import State
from corpus.pipeline.watchdog import Watchdog
from corpus.schemas.errors import LockedError


@pytest.fixture(params=["flock", "lease"])
def folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """With a file system that has locks, and one that answers as NFS without a lock daemon does."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    if request.param == "lease":
        monkeypatch.setattr(fcntl, "flock", refuse)
    return tmp_path


def test_a_folder_is_held_by_one(folder: Path) -> None:
    assert not is_locked(folder)
    with locked(folder, folder):
        assert is_locked(folder)
        with pytest.raises(LockedError), locked(folder, folder):
            raise AssertionError("held twice")
        assert is_locked(folder)
    assert not is_locked(folder)
    with locked(folder, folder):
        pass


def test_a_lease_that_nobody_touches_is_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", refuse)
    (tmp_path / "lock").touch()
    lease = tmp_path / "lease"
    lease.write_text("somebody who was killed")
    with pytest.raises(LockedError), locked(tmp_path, tmp_path):
        raise AssertionError("it may still be at work")
    old = time.time() - lock.STALE_SECONDS - 1
    os.utime(lease, (old, old))
    said: list[str] = []
    with locked(tmp_path, tmp_path, said.append):
        assert lease.read_text() != "somebody who was killed"
    assert not lease.exists()
    assert "lease" in said[0]


def test_two_folders_of_one_path_have_names_of_their_own(tmp_path: Path) -> None:
    """As in two containers that share a cache: neither may clear the other's scratch folder."""
    names = set()
    for one in ("a", "b"):
        state = State(tmp_path / one)
        state.create()
        names.add(state.own_name())
        assert state.own_name() in names
    assert len(names) == 2


def test_a_stopped_process_is_stuck_and_a_busy_one_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "STOPPED_SECONDS", 0.2)
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        dog = Watchdog()
        assert not dog.is_stuck(busy.pid)
        time.sleep(0.5)
        assert not dog.is_stuck(busy.pid)
        os.kill(busy.pid, signal.SIGSTOP)
        os.waitpid(busy.pid, os.WUNTRACED)
        assert not dog.is_stuck(busy.pid)
        time.sleep(0.5)
        assert dog.is_stuck(busy.pid)
        assert not dog.is_stuck(2**22 + 1)
    finally:
        busy.kill()
        busy.wait()
