from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path

import pytest

from corpus.pipeline.doctor import DoctorFact, _package, examine

MODELS = ("segmentation-3.0", "campplus", "whisper-base")


def named(facts: list[DoctorFact]) -> dict[str, DoctorFact]:
    assert len({fact.name for fact in facts}) == len(facts)
    return {fact.name: fact for fact in facts}


def test_every_fact_that_is_not_ok_says_what_to_do(tmp_path: Path) -> None:
    facts = examine(tmp_path / "not" / "there" / "yet", models=tmp_path)
    assert all(bool(fact.todo) != fact.ok for fact in facts)
    assert not (tmp_path / "not").exists(), "looking changes nothing"
    assert {"python", "ffmpeg", "codecs", "disk", "processors", "memory", "gpu"} <= named(facts).keys()


def test_missing_models_are_named_with_their_command(tmp_path: Path) -> None:
    facts = named(examine(tmp_path, models=tmp_path / "empty"))
    for model in MODELS:
        fact = facts[f"model {model}"]
        assert (fact.ok, fact.todo) == (False, f"corpus models pull {model}")
    assert facts["model whisper:large-v3"].ok, "what is optional may be absent"
    assert facts["model dnsmos"].ok, "so may what only a setting asks for"


def test_little_room_is_no_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("corpus.pipeline.doctor.LEAST_FREE_BYTES", 1 << 62)
    disk = named(examine(tmp_path))["disk"]
    assert not disk.ok
    assert "make room" in disk.todo


@pytest.mark.parametrize(
    ("asked", "found", "ok"),
    [("av<19,>=18", "18.1.0", True), ("av<19,>=18", "19.0", False), ("av<19,>=18", None, False)],
)
def test_versions_are_compared_as_numbers(
    asked: str, found: str | None, ok: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def version(name: str) -> str:
        if found is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return found

    monkeypatch.setattr("importlib.metadata.version", version)
    fact = _package(asked)
    assert fact is not None
    assert (fact.name, fact.ok, bool(fact.todo)) == ("av", ok, not ok)


def test_extras_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda name: "0.1")
    fact = _package('faster-whisper>=1.2; extra == "models"')
    assert fact is not None
    assert fact.todo == 'pip install "duplex-corpus[models]"'
    assert _package('ruff>=1; extra == "dev"') is None, "users need no developer's tools"


def test_the_command_prints_json_and_its_exit_code_tells(tmp_path: Path) -> None:
    program = (
        "import typer, sys\nfrom corpus.cli.doctor import doctor\n"
        "app = typer.Typer()\napp.command()(doctor)\napp(sys.argv[1:])"
    )
    command = [sys.executable, "-c", program, "--json", "--cache", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    facts = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == (0 if all(fact["ok"] for fact in facts) else 5), done.stderr
    assert facts[0]["name"] == "python"
