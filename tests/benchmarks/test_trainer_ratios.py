"""The trainer's ratio table runs: every row has a figure, or says that it needs a GPU."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

NEEDS_GPU = "needs a GPU"
SECTIONS = set(
    "peak checks products layer recipe loop skew few attention varlen "
    "train real twin compile deterministic save command turn".split()
)


def measured(repository: Path, out: Path, *arguments: str) -> tuple[list[dict[str, Any]], str]:
    script = str(repository / "benchmarks" / "trainer_ratios.py")
    command = [sys.executable, script, "--quick", "--device", "cpu", "--out", str(out), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = (out / "rows.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines], (out / "table.md").read_text(encoding="utf-8")


def test_every_row_runs(repository: Path, tmp_path: Path) -> None:
    rows, table = measured(repository, tmp_path, "--date", "2026-11-23")
    assert {row["section"] for row in rows} == SECTIONS
    for row in rows:
        assert row["values"] or row["missing"] == NEEDS_GPU, row
        assert all(value == value for value in row["values"]), row
        assert row["what"] in table
    assert "2026-11-23" in table


def test_a_section_that_fails_is_a_row_and_the_next_goes_on(repository: Path, tmp_path: Path) -> None:
    broken = tmp_path / "a file where a folder should be"
    broken.touch()
    rows, table = measured(repository, tmp_path, "--only", "command,peak", "--clips", str(broken))
    assert [row["section"] for row in rows] == ["command", "peak"]
    assert "NotADirectoryError" in rows[0]["missing"] and not rows[0]["values"]
    assert rows[1]["values"] and rows[0]["missing"] in table


def test_unknown_sections_are_refused(repository: Path, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="no section 'nothing'"):
        measured(repository, tmp_path, "--only", "peak,nothing")
