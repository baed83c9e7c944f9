"""SIGTERM: a build ends within five seconds, whatever it is at and whatever its workers do."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

SECONDS = 5.0


@pytest.mark.parametrize("moment", ["at its start", "in its workers", "with a stopped worker"])
def test_sigterm_is_obeyed(
    talks: Path,
    tmp_path: Path,
    corpus_command: Callable[..., subprocess.Popen[str]],
    no_models_flags: list[str],
    moment: str,
) -> None:
    out = tmp_path / "out"
    build = corpus_command("build", str(talks), "--out", str(out), *no_models_flags)
    wait_for(lambda: (out / ".cache" / "status.json").exists(), build)
    if moment != "at its start":
        wait_for(lambda: bool(list((out / ".cache" / "scratch").glob("*/running-*.json"))), build)
    if moment == "with a stopped worker":
        for worker in workers(build.pid):
            os.kill(worker, signal.SIGSTOP)
    began = time.monotonic()
    build.send_signal(signal.SIGTERM)
    assert build.wait(timeout=60) == 130
    assert time.monotonic() - began < SECONDS


def workers(build: int) -> list[int]:
    tasks = Path(f"/proc/{build}/task").iterdir()
    children = [int(child) for task in tasks for child in (task / "children").read_text().split()]
    found = [child for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]
    assert found
    return found


def wait_for(is_so: Callable[[], bool], build: subprocess.Popen[str]) -> None:
    until = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < until
        assert build.poll() is None, "it ended by itself"
        time.sleep(0.01)
