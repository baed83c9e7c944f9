"""kill -9 at random moments, resumed each time: the same bytes as an unbroken build."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from corpus.shards.verify import verify_dataset

KILLS = 20


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_a_build_killed_at_random_moments_ends_with_the_same_bytes(
    talks: Path,
    tmp_path: Path,
    corpus_command: Callable[..., subprocess.Popen[str]],
    no_models_flags: list[str],
    bytes_of: Callable[[Path], dict[str, str]],
    workers: int,
) -> None:
    def start(out: Path) -> subprocess.Popen[str]:
        return corpus_command("build", str(talks), "--out", str(out), "-j", str(workers), *no_models_flags)

    whole, broken = tmp_path / "whole", tmp_path / "broken"
    began = time.monotonic()
    unbroken = start(whole)
    assert unbroken.wait() == 0
    length_s = time.monotonic() - began

    rng = random.Random(workers)
    kills = 0
    for _ in range(KILLS):
        process = start(broken)
        try:
            # Fresh state now and then, so that early stages are hit as often as late ones.
            process.wait(timeout=rng.uniform(0.2, 0.9) * length_s / 2)
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            kills += 1
        process.wait()
        if (broken / "manifest.json").exists():
            # A manifest promises a whole dataset, whenever it is seen.
            assert verify_dataset(broken).problems == ()
            (broken / "manifest.json").unlink()
            (broken / ".cache" / "finished.json").unlink(missing_ok=True)
            stage = rng.choice(["decode", "voices", "label", "cut"])
            for path in sorted((broken / ".cache" / stage).rglob("*.json")):
                path.unlink()
                break
    assert kills >= KILLS // 2
    last = start(broken)
    assert last.wait() == 0
    assert bytes_of(broken) == bytes_of(whole)
    assert verify_dataset(broken).problems == ()
