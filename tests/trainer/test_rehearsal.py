"""The trainer on a GPU that computes nothing: what the host does for one, with no GPU at hand.

Values are zeros and nothing takes time, so this shows what is asked of a GPU, never what it answers; see
tests/null_gpu/runtime.cpp. Each rehearsal, of tests/null_gpu/rehearsals.py, is a process of its own.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from corpus.trainer.presets import MODELS
from corpus.trainer.session.talk import wave_bytes

NULL_GPU = Path(__file__).parents[1] / "null_gpu"
Rehearse = Callable[..., dict[str, Any]]

pytestmark = pytest.mark.rehearsal


@pytest.fixture(scope="module")
def rehearse(request: pytest.FixtureRequest) -> Rehearse:
    """Runs one of rehearsals.py and reads its last line; what it says beside is shown where it fails."""
    spec = importlib.util.spec_from_file_location("tests_null_gpu_build", NULL_GPU / "build.py")
    assert spec is not None and spec.loader is not None
    build = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(build)
    assert request.config.cache is not None
    try:
        library = build.build(request.config.cache.mkdir("null_gpu"))
    except build.CannotBuildError as error:
        pytest.skip(str(error))

    def run(*arguments: object, complaints: int = 0) -> dict[str, Any]:
        command = [sys.executable, str(NULL_GPU / "rehearsals.py"), *map(str, arguments)]
        env = build.environment(library)
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=580)
        assert done.returncode == 0, done.stderr[-8000:]
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        assert found["complaints"] == complaints, done.stderr[-8000:]
        return found

    return run


@pytest.fixture(scope="module")
def talks(rules: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Enough for a step of `base`: 32 rows of 4096 positions."""
    return Path(rules.write(tmp_path_factory.mktemp("talks"), "talk", {"train": 24}, windows=300).path)


def test_a_step_of_base(rehearse: Rehearse, talks: Path, tmp_path: Path) -> None:
    """Fits a card of 80 GB as the formula says, and compiles once.

    Beside log lines the host waits three times a step, never within a micro-batch: until the denominators
    are there, until the numbers of ranks that hold each gradient are, and for the norm, which it reads.
    """
    pairs = [f"data.data={talks}", "data.hears=max", "data.pictures=false", "data.workers=1", "device=cuda"]
    found = rehearse("steps", tmp_path / "run", *pairs, "steps=4", "log_every=100")
    steps = found["steps"]
    assert [step["logged"] for step in steps] == [False, False, False, True]
    assert max(step["allocated"] for step in steps) == pytest.approx(found["formula"], rel=0.03)
    assert max(step["reserved"] for step in steps) < 79 * 2**30
    assert steps[0]["graphs"] == steps[-1]["graphs"] > 0
    for step in steps[1:]:
        assert (step["micro"]["waits"], step["micro"]["pageable"], step["micro"]["to_host"]) == (0, 0, 0)
        assert step["micro"]["launches"] > 8 * 16  # of each micro-batch and layer at least one
    for step in steps[1:3]:
        assert step["waits"] <= 3 and step["to_host"] == 1


def test_a_step_that_sees_and_hears_each_voice(rehearse: Rehearse, talks: Path, tmp_path: Path) -> None:
    pytest.importorskip("av", reason="voices are FLAC")
    pairs = [f"data.data={talks}", "data.hears=mix", "data.workers=1", "device=cuda", "model.layers=3"]
    pairs += ["model.experts=8", "model.vocab=8192", "data.rows=4", "accumulate=2"]
    pairs += ["model.picture_rows=2", "model.picture_columns=2"]
    found = rehearse("steps", tmp_path / "run", *pairs, "steps=3", "log_every=100")
    steps = found["steps"]
    assert steps[0]["graphs"] == steps[-1]["graphs"] > 0
    assert all(step["micro"]["waits"] == step["micro"]["pageable"] == 0 for step in steps[1:])
    assert steps[1]["waits"] <= 3


def test_a_session_of_base(rehearse: Rehearse) -> None:
    """All is recorded before it begins, nothing in a recording is forbidden, and little enough is in it.

    A kernel of a graph takes a GPU a microsecond and a half to begin, whatever it does. A window that speaks
    reads fourteen times, and may take 40 ms: half of them for beginning is a thousand kernels a position.
    """
    found = rehearse("session", "base")
    lengths = {run.split()[0] for run in found["runs"]}
    assert lengths == {"1", "5", "13", "53"} and found["late"] == found["beside"] == 0
    assert max(count for run, count in found["runs"].items() if run.startswith("1 ")) <= 1000
    config = MODELS["base"]
    for window in found["windows"]:
        reads = window["replays"] - window["to_host"]  # a choice is a replay too, and is read back
        assert 0 < reads <= 2 + config.text_slots + config.audio_positions
        assert window["to_host"] <= 1 + config.text_slots + 1 + config.audio_positions


def test_the_commands(rehearse: Rehearse, rules: ModuleType, tmp_path: Path) -> None:
    """Of `tiny`, a step each of training and going on, then what is made of it."""
    counts = {"train": 8, "validation": 2}
    data = rules.write(tmp_path / "beeps", "beep", counts, windows=30).path
    run, user = tmp_path / "run", tmp_path / "user.wav"
    user.write_bytes(wave_bytes(np.zeros((6400, 1), np.int16)))
    small = ["data.pictures=false", "data.workers=1", "device=cuda"]
    rehearse("command", "train", "--preset", "tiny", "--data", data, "--run", run, *small, "steps=2")
    rehearse("command", "train", "--run", run, "steps=3")
    lines = (run / "log.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(lines[-1])["step"] == 3 and json.loads(lines[-1])["skipped"] == 0
    on_gpu = ("--device", "cuda")
    found = rehearse("command", "eval", "--run", run, "--data", data, "--free", 1, *on_gpu)
    assert found["replays"] > 0
    found = rehearse("command", "talk", "--run", run, "--user", user, "--out", tmp_path / "out", *on_gpu)
    assert found["replays"] > 0 and (tmp_path / "out" / "talk.wav").is_file()


def test_what_is_forbidden_or_not_there_is_told(rehearse: Rehearse) -> None:
    """The rehearsal itself, or it could pass because nobody looks. CUDA's rules for what a recording forbids;
    that another thread may wait when each has its own; no more memory than a card has."""
    found = rehearse("mistakes", complaints=3)  # torch itself tells of the copy, and what is too much is none
    assert found["told"] == ["wait", "copy", "read", "unknown", "too much"]
    assert found["recorded"] == 1
