from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from corpus.schemas.codec import to_json
from corpus.schemas.errors import SettingsError
from corpus.trainer.config import RunConfig
from corpus.trainer.parallel.ranks import check_mesh
from corpus.trainer.train.load_model import load_model
from corpus.trainer.train.loop import train_model

SmallRun = Callable[..., RunConfig]
Start = Callable[..., list[subprocess.CompletedProcess[str]]]


@pytest.mark.parametrize(
    ("pairs", "world", "match"),
    [
        (["expert_parallel=2"], 1, "do not divide 1 ranks"),
        (["expert_parallel=2"], 3, "do not divide 3 ranks"),
        (["expert_parallel=3"], 3, "4 experts cannot be shared by 3 ranks"),
        (["expert_parallel=2", "data.rows=12", "model.width=64"], 12, "cannot be cut into 6"),
        (["replicas=2"], 3, "2 replicas do not divide 3 ranks"),
        (["replicas=2", "expert_parallel=2"], 2, "do not divide 1 ranks of a replica"),
        (["data.rows=3"], 2, "3 rows do not divide among 2 ranks"),
        (["data.rows=4", "accumulate=4"], 2, "times 4 accumulation steps"),
    ],
)
def test_what_does_not_fit_is_said(small_run: SmallRun, pairs: list[str], world: int, match: str) -> None:
    with pytest.raises(SettingsError, match=match):
        check_mesh(small_run(*pairs), world)


def test_what_fits_is_taken(small_run: SmallRun) -> None:
    for pairs, world in (
        (["expert_parallel=2"], 4),
        (["expert_parallel=4"], 4),
        (["accumulate=2"], 2),
        (["replicas=2"], 4),
        (["replicas=2", "expert_parallel=2"], 4),
        (["replicas=2", "model.width=72"], 4),
    ):
        check_mesh(small_run(*pairs), world)


RANK = """
import sys, torch
from pathlib import Path
from corpus.schemas.codec import from_json
from corpus.trainer.config import RunConfig
from corpus.trainer.train.loop import train_model
torch.set_num_threads(1)
train_model(from_json(RunConfig, Path(sys.argv[1]).read_bytes()), Path(sys.argv[2]), talk=print)
"""


def started(start: Start, config: RunConfig, run: Path, world: int) -> str:
    """Train with so many ranks; what the first one said."""
    run.mkdir(exist_ok=True)
    file = run / "asked.json"
    file.write_text(to_json(config))
    done = start("-c", RANK, str(file), str(run), world=world)
    assert [process.returncode for process in done] == [0] * world, done[0].stderr[-3000:]
    return done[0].stdout


def lines(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def assert_same_course(one: Path, other: Path, rel: float) -> None:
    mine, theirs = lines(one), lines(other)
    assert len(mine) == len(theirs)
    for a, b in zip(mine, theirs, strict=True):
        for name in ("step", "positions", "padding", "skipped"):
            assert a[name] == b[name]
        nats = [name for name in a if name.startswith("nats_")]
        for name in ("loss", "text", "audio", "user_audio", "balance", "router_z", *nats):
            if a[name] is None:
                assert b[name] is None, (a["step"], name)
                continue
            assert a[name] == pytest.approx(b[name], rel=rel), (a["step"], name)
        for name in (n for n in a if n.startswith(("grad_norm", "update"))):
            assert a[name] == pytest.approx(b[name], rel=max(1e-4, 10 * rel)), (a["step"], name)
        assert a["grad_norm"] == pytest.approx(b["grad_norm"], rel=10 * rel)
        for name in ("speaking", "text_spilled", "text_lost"):
            assert a[name] == b[name]
        assert a["expert_load"] == pytest.approx(b["expert_load"], rel=1e-2)
        for mine_layer, their_layer in zip(a["layers"], b["layers"], strict=True):
            assert mine_layer == pytest.approx(their_layer, rel=1e-2)


WEIGHT_OFF, WEIGHT_OFF_RMS = 2e-5, 1e-6
"""After four steps, in which a weight goes about 1e-2. Sums over ranks are rounded in another order, and
AdamW divides each gradient by its own size, so that where one is nearly zero its rounding is a part of a
step: 5.4e-6 at most was found in any weight of any mesh here. Of a whole tensor, 2.5e-7, Muon's."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("world", "pairs", "rel"),
    [
        (2, [], 1e-6),
        (2, ["accumulate=2"], 1e-6),
        (2, ["accumulate=2", "model.audio_head=flow", "model.flow_dropout=0.5"], 1e-6),
        (2, ["accumulate=2", "loss.user_audio=0.5"], 1e-6),
        (2, ["optim.optimizer=muon"], 1e-5),
        (2, ["recompute=blocks"], 1e-6),
        (2, ["expert_parallel=2"], 1e-5),
        (2, ["expert_parallel=2", "recompute=exchange"], 1e-5),
        (4, ["expert_parallel=2"], 1e-5),
        (4, ["expert_parallel=2", "recompute=blocks", "optim.optimizer=muon", "optim.ema_decay=0.5"], 1e-5),
        (4, ["replicas=2"], 1e-5),
        (4, ["replicas=2", "expert_parallel=2"], 1e-5),
        (4, ["replicas=2", "accumulate=1", "optim.optimizer=muon", "optim.ema_decay=0.5"], 1e-5),
    ],
)
def test_many_processes_are_one(
    small_run: SmallRun, start_python: Start, tmp_path: Path, world: int, pairs: list[str], rel: float
) -> None:
    config = small_run("steps=4", *pairs)
    alone = [pair for pair in pairs if not pair.startswith(("expert_parallel", "replicas"))]
    train_model(small_run("steps=4", *alone), tmp_path / "one", talk=print)
    started(start_python, config, tmp_path / "many", world)
    assert_same_course(tmp_path / "one", tmp_path / "many", rel)
    mine, theirs = (load_model(tmp_path / name)[0].state_dict() for name in ("one", "many"))
    for name, value in mine.items():
        off = (theirs[name].double() - value.double()).abs()
        assert float(off.max()) <= WEIGHT_OFF and float(off.square().mean().sqrt()) <= WEIGHT_OFF_RMS, name


BIAS = """
import os, torch
import torch.distributed as dist
from corpus.trainer.model.model import InteractionModel
from corpus.trainer.presets import MODELS
from corpus.trainer.model.router import Router
from corpus.trainer.parallel.collectives import summed
dist.init_process_group("gloo")
model = InteractionModel(MODELS["tiny"])
# To one rank the first expert is the busiest, to the other the last; in all the second has too little.
model.load_NE[:] = torch.tensor([[90, 10, 30, 30], [10, 10, 30, 90]][dist.get_rank()])
summed(model.load_NE)
model.update_router_bias()
print([[round(1e4 * bias) for bias in m.bias_E.tolist()] for m in model.modules() if isinstance(m, Router)])
dist.destroy_process_group()
"""


@pytest.mark.slow
def test_router_biases_move_by_the_loads_of_all_ranks(start_python: Start) -> None:
    done = start_python("-c", BIAS, world=2)
    assert [process.returncode for process in done] == [0, 0], done[0].stderr[-3000:]
    first, second = (json.loads(process.stdout) for process in done)
    # Loads 100, 20, 60, 120 have a mean of 75: two are short, two are not, and steps of 1e-3 add up to none.
    assert first == second == [[-10, 10, 10, -10]] * len(first) and first


@pytest.mark.slow
def test_ranks_may_change_between_halves(small_run: SmallRun, start_python: Start, tmp_path: Path) -> None:
    """Two ranks, then one, then two with shared experts: the same batches and the same course."""
    train_model(_until(small_run, 6), tmp_path / "one", talk=print)
    run = tmp_path / "many"
    saves = "save_every=2"
    started(start_python, _until(small_run, 2, saves), run, 2)
    train_model(_until(small_run, 4, saves), run, talk=print)
    said = started(start_python, _until(small_run, 6, saves, "expert_parallel=2"), run, 2)
    assert "resuming from step 4" in said
    assert_same_course(tmp_path / "one", run, 1e-6)
    assert _chain(run) == _chain(tmp_path / "one")


@pytest.mark.slow
def test_copies_are_saved_once_and_any_ranks_go_on(
    small_run: SmallRun, start_python: Start, tmp_path: Path
) -> None:
    """Two copies on two ranks each, then one process, then two copies that share their experts."""
    train_model(_until(small_run, 6), tmp_path / "one", talk=print)
    run = tmp_path / "many"
    saves = "save_every=2"
    started(start_python, _until(small_run, 2, saves, "replicas=2"), run, 4)
    train_model(_until(small_run, 2), tmp_path / "short", talk=print)
    assert _bytes_saved(run) == pytest.approx(_bytes_saved(tmp_path / "short"), rel=0.05)
    train_model(_until(small_run, 4, saves), run, talk=print)
    said = started(start_python, _until(small_run, 6, saves, "replicas=2", "expert_parallel=2"), run, 4)
    assert "resuming from step 4" in said
    assert_same_course(tmp_path / "one", run, 1e-5)
    assert _chain(run) == _chain(tmp_path / "one")


def _bytes_saved(run: Path) -> int:
    return sum(file.stat().st_size for file in (run / "checkpoints").glob("step-00000002/*.distcp"))


def _until(small_run: SmallRun, steps: int, *pairs: str) -> RunConfig:
    """A run cut short whose learning rates do not hang on where it ends."""
    return small_run(f"steps={steps}", "optim.schedule=constant", *pairs)


def _chain(run: Path) -> Any:
    latest = (run / "checkpoints" / "LATEST").read_text().strip()
    return json.loads((run / "checkpoints" / latest / "meta.json").read_text())["loader"]["chain"]


@pytest.mark.slow
def test_half_precision_over_two_ranks(small_run: SmallRun, start_python: Start, tmp_path: Path) -> None:
    train_model(small_run("steps=3"), tmp_path / "one", talk=print)
    started(start_python, small_run("steps=3", "precision=bf16"), tmp_path / "many", 2)
    both = zip(lines(tmp_path / "one"), lines(tmp_path / "many"), strict=True)
    for a, b in both:
        assert a["loss"] == pytest.approx(b["loss"], rel=2e-2)
    assert all(
        value.dtype == torch.float32 for value in load_model(tmp_path / "many")[0].state_dict().values()
    )


@pytest.mark.slow
def test_sigterm_to_torchrun_saves_and_ends_all_ranks(
    small_run: SmallRun, beeps: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    pairs = [
        "data.rows=2",
        "data.length=72",
        "data.pictures=false",
        "steps=100000",
        "log_every=1",
        "save_every=1000",
    ]
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        "-m",
        "--",
    ]
    command += [
        "corpus.cli.main",
        "train",
        "--preset",
        "tiny",
        "--data",
        str(beeps),
        "--run",
        str(run),
        *pairs,
    ]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 120
        while not (run / "log.jsonl").exists() or len(lines(run)) < 3:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert "everything saved" in said
    latest = (run / "checkpoints" / "LATEST").read_text().strip()
    assert latest == f"step-{lines(run)[-1]['step']:08d}"
