"""The released weights are what the documented commands make of the data, byte for byte."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SERIES = ("ES2002", "IS1003", "TS3005")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "weights"), [("train_self_correction", "repairs.npz"), ("train_units", "units.npz")]
)
def test_training_again_gives_the_released_bytes(
    repository: Path, tmp_path: Path, script: str, weights: str
) -> None:
    pytest.importorskip("sklearn")
    folder = repository.parent / "shared/data/cues"
    if not folder.is_dir():
        pytest.skip("the meetings with people's marks are not here: ../shared/data/cues")
    chosen = [part for name in SERIES for part in ("--series", name)]
    command = [
        sys.executable,
        f"benchmarks/{script}.py",
        str(folder),
        *chosen,
        "--out",
        str(tmp_path / weights),
    ]
    subprocess.run(command, cwd=repository, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    released = (repository / "align/cues" / weights).read_bytes()
    assert (tmp_path / weights).read_bytes() == released, tmp_path
