"""Two processes, one of which is in trouble: both end soon and say the same, or go on."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from corpus.schemas.codec import to_json
from corpus.schemas.errors import DatasetError, UsageError
from corpus.trainer.config import RunConfig
from corpus.trainer.parallel.collectives import expect_same, no_rank_lost, summed_or_raised, together

SmallRun = Callable[..., RunConfig]
Start = Callable[..., list[subprocess.CompletedProcess[str]]]

RANK = """
import dataclasses, errno, fcntl, os, sys, torch
from pathlib import Path
from torch.distributed.checkpoint import FileSystemWriter
from corpus.schemas.codec import from_json
from corpus.schemas.errors import CorpusError, DatasetError
from corpus.trainer.train import loop
from corpus.trainer.config import RunConfig

torch.set_num_threads(1)
file, run, trouble = sys.argv[1:]
config, rank = from_json(RunConfig, Path(file).read_bytes()), int(os.environ["RANK"])
take, write, count = loop._Run._take, FileSystemWriter.write_data, iter(range(99))

class Unreadable:
    def __next__(self):
        raise DatasetError("a shard is gone")

def _take(self, batches):
    if self.step == 2 and rank == 1:
        if trouble == "killed":
            os.kill(os.getpid(), 9)
        return take(self, Unreadable())
    return take(self, batches)

def _write(self, plan, planner):
    if next(count) == 0 and rank == 1:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return write(self, plan, planner)

if trouble in ("killed", "reading"):
    loop._Run._take = _take
if trouble == "disk":
    FileSystemWriter.write_data = _write
if trouble == "settings":
    config = dataclasses.replace(config, steps=config.steps + rank)
if trouble == "locked" and rank == 0:
    held = os.open(Path(run) / ".lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(held, fcntl.LOCK_EX)
if trouble == "log" and rank == 0:
    (Path(run) / "log.jsonl").mkdir()
if trouble == "data" and rank == 1:
    other = dataclasses.replace(config.data, data=config.data.data + "/none")
    config = dataclasses.replace(config, data=other)
if trouble == "folders" and rank == 1:
    run += "-elsewhere"
try:
    loop.train_model(config, Path(run), talk=print)
except CorpusError as error:
    print(f"{type(error).__name__}: {error}")
    sys.exit(error.exit_code)
"""


def said(
    small_run: SmallRun, start_python: Start, run: Path, trouble: str, *pairs: str
) -> list[tuple[int, str]]:
    """Exit code and last line of both ranks, within a minute."""
    run.mkdir()
    file = run / "asked.json"
    file.write_text(to_json(small_run(*pairs)))
    began = time.monotonic()
    done = start_python("-c", RANK, str(file), str(run), trouble, world=2)
    assert time.monotonic() - began < 60
    assert "Traceback" not in "".join(process.stderr for process in done)
    return [(process.returncode, (process.stdout.splitlines() or [""])[-1]) for process in done]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("trouble", "code", "what"),
    [
        ("reading", 1, "DatasetError: a shard is gone"),
        ("settings", 2, "SettingsError: steps: is 7 on rank 1 but 6 on rank 0"),
        ("locked", 1, "LockedError: "),
        ("data", 2, "SettingsError: data.data: is "),
        ("folders", 1, "StorageError: "),
        ("log", 1, "StorageError: "),
    ],
)
def test_trouble_of_one_is_the_error_of_all(
    small_run: SmallRun, start_python: Start, tmp_path: Path, trouble: str, code: int, what: str
) -> None:
    first, second = said(small_run, start_python, tmp_path / "run", trouble)
    assert first == second
    assert first[0] == code and first[1].startswith(what)


@pytest.mark.slow
def test_a_killed_rank_ends_the_other(small_run: SmallRun, start_python: Start, tmp_path: Path) -> None:
    first, second = said(small_run, start_python, tmp_path / "run", "killed")
    assert second[0] == -9
    assert first[0] == 1 and "another process of this run has ended" in first[1]


@pytest.mark.slow
def test_a_full_disk_of_one_costs_one_checkpoint(
    small_run: SmallRun, start_python: Start, tmp_path: Path
) -> None:
    first, second = said(small_run, start_python, tmp_path / "run", "disk", "save_every=2", "steps=4")
    assert (first[0], second) == (0, (0, ""))
    assert "No space left" in first[1] and "the run goes on" in first[1]
    names = sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir())
    assert names == ["LATEST", "step-00000004"]


TWO_RANKS = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


@pytest.mark.slow
def test_the_command_says_an_error_once(tmp_path: Path) -> None:
    """Under torchrun: one line for a wrong setting, and one for a dataset that is none."""
    command = [
        *TWO_RANKS,
        "-m",
        "--",
        "corpus.cli.main",
        "train",
        "--preset",
        "tiny",
        "--run",
        str(tmp_path / "run"),
    ]
    for more, what in ((["stepz=3"], "no setting"), ([], "contains no finished dataset")):
        done = subprocess.run(
            [*command, "--data", str(tmp_path), "device=cpu", *more],
            capture_output=True,
            text=True,
            timeout=120,
        )
        ours = [line for line in done.stderr.splitlines() if line.startswith("corpus: ")]
        assert done.returncode != 0
        assert len(ours) == 1 and what in ours[0]


@pytest.mark.slow
def test_it_is_said_by_the_first_however_late_it_comes(tmp_path: Path) -> None:
    """The other rank fails seconds before, and the launcher ends all when one has ended."""
    late = tmp_path / "late.py"
    late.write_text(
        "import os, time\n"
        "time.sleep(6 * (os.environ['LOCAL_RANK'] == '0'))\n"
        "from corpus.cli.main import main\n"
        "main()\n"
    )
    command = [*TWO_RANKS, "--", str(late), "train", "--preset", "tiny", "--run", str(tmp_path / "run")]
    done = subprocess.run([*command, "stepz=3"], capture_output=True, text=True, timeout=120)
    assert done.returncode != 0
    ours = [line for line in done.stderr.splitlines() if line.startswith("corpus: ")]
    assert len(ours) == 1 and "no setting" in ours[0]


def test_alone_everything_is_as_it_was() -> None:
    assert together(None, lambda: 3) == 3
    expect_same(None, {"a": 1})
    assert summed_or_raised(None, torch.ones(3), None).tolist() == [1, 1, 1]
    with pytest.raises(DatasetError, match="gone"):
        summed_or_raised(None, torch.ones(3), DatasetError("gone"))


def test_only_a_broken_connection_is_a_lost_rank() -> None:
    for world, message in ((1, "gloo"), (2, "shapes do not fit")):
        with pytest.raises(RuntimeError, match=message), no_rank_lost(world):
            raise RuntimeError(message)
    with pytest.raises(UsageError, match="as it is"), no_rank_lost(2):
        raise UsageError("as it is")
