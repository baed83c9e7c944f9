"""One call to the system fails: the old dataset or the new one, whole, and the next build is as always.

The n-th write, fsync, rename or open fails below Python, since DuckDB and libav write themselves. `make
test-faults` tries every n; here are some.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from corpus.pipeline.build import build_dataset
from corpus.pipeline.progress import Quiet
from corpus.pipeline.request import Request
from corpus.schemas.codec import to_json
from corpus.schemas.settings import Settings

HERE = Path(__file__).parent
KINDS = ("write", "fsync", "rename", "open")
sys.path.insert(0, str(HERE))
from promised import promised_bytes  # noqa: E402


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("needs Linux and a C compiler")
    made = tmp_path_factory.mktemp("library") / "fail_nth.so"
    command = [compiler, "-shared", "-fPIC", "-O1", "-o", str(made), str(HERE / "fail_nth.c"), "-ldl"]
    subprocess.run(command, check=True)
    return made


@pytest.fixture(scope="session")
def work(tmp_path_factory: pytest.TempPathFactory, media: ModuleType, faults_settings: Settings) -> Path:
    """Two short recordings, a dataset of the first, and the bytes of a dataset of both."""
    work = tmp_path_factory.mktemp("work")
    (work / "in").mkdir()

    def build() -> None:
        build_dataset(
            Request(inputs=(str(work / "in"),), out=work / "out", settings=faults_settings), Quiet()
        )

    def recording(name: str, seconds: float) -> None:
        audio = media.Audio(codec="pcm_s16le", rate_hz=16000)
        media.write_media(work / "in" / f"{name}.wav", duration_s=seconds, audio=[audio])
        (work / "in" / f"{name}.rttm").write_text(f"SPEAKER {name} 1 0.2 0.8 <NA> <NA> Ann <NA> <NA>\n")

    recording("one", 1.2)
    build()
    (work / "out").rename(work / "old")
    recording("two", 1.5)
    build()
    (work / "new.json").write_text(json.dumps(promised_bytes(work / "out")))
    (work / "settings.json").write_text(to_json(faults_settings))
    return work


@pytest.fixture(scope="session")
def sweep(work: Path, library: Path) -> Callable[..., list[dict[str, Any]]]:
    """sweep(kind, old=True, first=1, step=1, most=…): what came of each build."""

    def _sweep(
        kind: str, *, old: bool, first: int = 1, step: int = 1, most: int = 10_000
    ) -> list[dict[str, Any]]:
        control = work / "control"
        control.write_bytes(bytes(8192))
        if not old:
            (work / "old").rename(work / "aside")
        try:
            command = [
                sys.executable,
                str(HERE / "sweep.py"),
                str(work),
                kind,
                str(first),
                str(step),
                str(most),
            ]
            environment = {**os.environ, "LD_PRELOAD": str(library), "FAIL_CONTROL": str(control)}
            ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        finally:
            if not old:
                (work / "aside").rename(work / "old")
        assert ran.returncode == 0, ran.stderr[-3000:]
        return [json.loads(line) for line in ran.stdout.splitlines()]

    return _sweep


def problems(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one for one in found if one["wrong"]]


@pytest.mark.parametrize("kind", KINDS)
def test_some_calls_fail(sweep: Callable[..., list[dict[str, Any]]], kind: str) -> None:
    found = sweep(kind, old=True, first=3, step=17 if kind != "rename" else 4, most=6)
    assert len(found) >= 3
    assert problems(found) == []


@pytest.mark.slow
@pytest.mark.faults
@pytest.mark.parametrize("old", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_every_call_fails(sweep: Callable[..., list[dict[str, Any]]], kind: str, old: bool) -> None:
    found = sweep(kind, old=old)
    assert len(found) > 10
    assert problems(found) == []
