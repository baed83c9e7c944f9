"""Other weights to begin from, whole or under products of low rank, in two processes as in one."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from corpus.schemas.codec import to_json
from corpus.trainer.config import RunConfig
from corpus.trainer.train.export import export
from corpus.trainer.train.load_model import load_model
from corpus.trainer.train.loop import train_model

pytestmark = pytest.mark.slow
SmallRun = Callable[..., RunConfig]
Start = Callable[..., list[subprocess.CompletedProcess[str]]]

RANK = """
import sys
from pathlib import Path
import torch
from corpus.schemas.codec import from_json
from corpus.trainer.config import RunConfig
from corpus.trainer.train.loop import train_model

torch.set_num_threads(1)
train_model(from_json(RunConfig, Path(sys.argv[1]).read_bytes()), Path(sys.argv[2]), talk=print)
"""


@pytest.fixture(scope="module")
def base(small_run: SmallRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("two-ranks")
    train_model(small_run("steps=2", "data.seed=3"), folder / "run", talk=print)
    export(folder / "run", folder / "model")
    return folder


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_model(run)[0].state_dict()


@pytest.mark.parametrize(
    ("source", "pairs"),
    [
        ("run", ()),
        ("model", ()),
        ("model", ("model.lora_rank=2",)),
        ("model", ("expert_parallel=2",)),
    ],
    ids=["run", "model", "low rank", "experts shared"],
)
def test_two_processes_begin_and_learn_as_one(
    small_run: SmallRun, start_python: Start, base: Path, tmp_path: Path, source: str, pairs: tuple[str, ...]
) -> None:
    own = (f"init={base / source}", "optim.lr=0.01", "optim.schedule=constant", "steps=2")
    alone = [pair for pair in pairs if not pair.startswith("expert_parallel")]
    train_model(small_run(*own, *alone), tmp_path / "one", talk=print)
    for steps in (1, 2):  # begun by two, and gone on with by two
        asked = tmp_path / "asked.json"
        asked.write_text(to_json(small_run(*own, *pairs, f"steps={steps}")))
        done = start_python("-c", RANK, str(asked), str(tmp_path / "two"), world=2)
        assert [process.returncode for process in done] == [0, 0], done[0].stderr[-2000:]
    mine, theirs = weights(tmp_path / "one"), weights(tmp_path / "two")
    began = weights(base / "run")
    assert mine.keys() == theirs.keys()
    for name, value in mine.items():
        torch.testing.assert_close(theirs[name], value, rtol=1e-3, atol=1e-4)
    moved = [name for name in began if not torch.equal(began[name], mine[name])]
    assert any("attention.query" in name for name in moved)
    if "model.lora_rank=2" in pairs:  # nothing but what they were added to
        assert all(".attention." in name for name in moved)
