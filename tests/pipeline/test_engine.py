from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from corpus.pipeline.engine import WorkerDied, run_jobs


def square_or_die(number: int) -> int:
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number * number


def fail(number: int) -> int:
    raise RuntimeError(f"job {number}")


def die_the_first_time(flag: str) -> str:
    try:
        os.open(flag, os.O_CREAT | os.O_EXCL)
    except FileExistsError:
        return flag
    os.kill(os.getpid(), signal.SIGKILL)
    return ""


def test_a_job_whose_worker_dies_is_tried_once_more(tmp_path: Path) -> None:
    flags = [str(tmp_path / name) for name in "ab"]
    ended = list(run_jobs(die_the_first_time, flags, num_workers=2, on_poll=lambda: None))
    assert sorted(str(done.result) for done in ended) == flags


@pytest.mark.parametrize("num_workers", [1, 3])
def test_a_dead_worker_takes_only_its_own_job(num_workers: int) -> None:
    ended = list(run_jobs(square_or_die, range(7), num_workers=num_workers, on_poll=lambda: None))
    results = {done.job: done.result for done in ended}
    assert isinstance(results.pop(3), WorkerDied)
    assert results == {n: n * n for n in range(7) if n != 3}


def test_no_jobs_start_no_workers() -> None:
    assert list(run_jobs(square_or_die, [], num_workers=2, on_poll=lambda: None)) == []


def test_an_exception_of_a_job_ends_the_run() -> None:
    with pytest.raises(RuntimeError, match="job"):
        list(run_jobs(fail, range(3), num_workers=2, on_poll=lambda: None))


PARENT = """
import sys, time
sys.path.insert(0, {folder!r})
from sleeper import sleep_long
from corpus.pipeline.engine import run_jobs
if __name__ == "__main__":
    list(run_jobs(sleep_long, [1, 2], num_workers=2, on_poll=lambda: print("poll", flush=True)))
"""


def test_a_killed_build_leaves_no_worker_behind(tmp_path: Path) -> None:
    (tmp_path / "sleeper.py").write_text("import time\n\ndef sleep_long(n):\n    time.sleep(120)\n")
    script = tmp_path / "parent.py"
    script.write_text(PARENT.format(folder=str(tmp_path)))
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        for _ in range(4):
            parent.stdout.readline()
        children = psutil.Process(parent.pid).children(recursive=True)
        parent.kill()
    assert children
    deadline = time.monotonic() + 10
    while any(c.is_running() and c.status() != psutil.STATUS_ZOMBIE for c in children):
        assert time.monotonic() < deadline, "workers outlived the build"
        time.sleep(0.05)
