"""The command line as a whole: help, exit codes, what it loads, and readers that stop reading."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer

from corpus.cli import main as command_line
from corpus.cli.main import app
from corpus.schemas.errors import (
    CorpusError,
    FormatError,
    LockedError,
    MissingModelError,
    SettingsError,
    UsageError,
)


def corpus(*arguments: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "corpus.cli.main", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)


def commands() -> Iterator[tuple[str, Callable[..., Any]]]:
    groups: list[tuple[str, typer.Typer]] = [("", command_line.app)]
    while groups:
        prefix, group = groups.pop()
        for one in group.registered_commands:
            assert one.callback is not None
            yield f"{prefix}{one.name or one.callback.__name__}", one.callback
        groups += [
            (f"{prefix}{g.name} ", g.typer_instance) for g in group.registered_groups if g.typer_instance
        ]


def test_help_lists_every_command() -> None:
    text = corpus("--help").stdout
    names = {name.split()[0] for name, _ in commands()}
    assert names >= {"build", "plan", "status", "errors", "verify", "sample", "probe", "models", "config"}
    assert [name for name in sorted(names) if f"\n  {name} " not in text] == []


@pytest.mark.parametrize(
    ("name", "callback"), list(commands()), ids=lambda x: x if isinstance(x, str) else ""
)
def test_every_command_says_what_it_does_and_shows_an_example(
    name: str, callback: Callable[..., Any]
) -> None:
    text = callback.__doc__ or ""
    assert text.split("\n")[0].endswith(".")
    assert "Example" in text
    assert f"corpus {name}" in text


@pytest.mark.parametrize(
    "arguments",
    [
        ("build", "a.wav", "--out", "o", "--bogus"),
        ("build", "--out", "o"),
        ("build", "a.wav"),
        ("build", "a.wav", "--out", "o", "--num-workers", "0"),
        ("build", "a.wav", "--out", "o", "--num-workers", "many"),
        ("nonsense",),
        ("--bogus",),
        ("models", "nonsense"),
    ],
)
def test_a_wrong_call_is_one_line_and_exit_2(
    arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["corpus", *arguments])
    assert run_main() == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("corpus: ") and err.count("\n") == 1 and ".;" not in err


def run_main() -> object:
    with pytest.raises(SystemExit) as ended:
        command_line.main()
    return ended.value.code


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (CorpusError("x"), 1),
        (FormatError("x"), 1),
        (LockedError("x"), 1),
        (UsageError("x"), 2),
        (SettingsError("x"), 2),
        (MissingModelError("x"), 5),
        (KeyboardInterrupt(), 130),
        (typer.Abort(), 130),
        (OSError(errno.ENOSPC, "No space left on device"), 1),
        (OSError(errno.EROFS, "Read-only file system", "there"), 1),
    ],
)
def test_exit_codes(
    error: BaseException,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def failing(**_: object) -> None:
        raise error

    monkeypatch.setattr(command_line, "app", failing)
    monkeypatch.setattr(
        threading, "active_count", lambda: 1
    )  # tqdm's may live here, and it would end the tests
    assert run_main() == code
    assert capsys.readouterr().err.count("\n") == 1


def test_verify_tells_what_is_broken_where_nothing_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "manifest.json").write_text("{")
    (tmp_path / ".cache" / "damaged.json.writing").mkdir(parents=True)  # not even root writes there
    monkeypatch.setattr(sys, "argv", ["corpus", "verify", str(tmp_path)])
    assert run_main() == 4
    assert "[manifest_broken]" in capsys.readouterr().out


def test_a_defect_of_ours_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(**_: object) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(command_line, "app", failing)
    with pytest.raises(OSError, match="Invalid argument"):
        command_line.main()


@pytest.fixture(autouse=True)
def _leave_signals_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("signal.signal", lambda *_: None)


def test_importing_it_loads_nothing_heavy() -> None:
    heavy = "{'torch', 'av', 'duckdb', 'pyarrow', 'numpy', 'pyannote', 'faster_whisper'}"
    code = f"import sys, corpus.cli.main; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_help_comes_at_once() -> None:
    """The best of three, since other work on the machine only ever adds to it."""
    took = []
    for _ in range(3):
        start = time.monotonic()
        corpus("--help")
        took.append(time.monotonic() - start)
    assert min(took) < 2.0


def test_a_group_without_a_command_shows_its_help() -> None:
    done = corpus("models")
    assert done.returncode == 2
    assert "pull" in done.stderr and "corpus: " not in done.stderr


def test_a_reader_that_stops_reading_is_no_crash(tmp_path: Path, media: ModuleType) -> None:
    """`corpus plan ... | head -1`, where the plan is longer than a pipe holds."""
    folder = tmp_path / "talks"
    folder.mkdir()
    first = folder / "0.wav"
    media.write_media(first, duration_s=0.5, audio=[media.Audio(codec="pcm_s16le", rate_hz=8000)])
    for number in range(1, 400):
        os.link(first, folder / f"{'long-name-' * 20}{number}.wav")
    plan = subprocess.Popen(
        [sys.executable, "-m", "corpus.cli.main", "plan", str(folder), "--out", str(tmp_path / "out")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert plan.stdout is not None and plan.stderr is not None
    with plan.stdout, plan.stderr:
        head = plan.stdout.readline()
        plan.stdout.close()
        told = plan.stderr.read()
    assert head.startswith(b"recording")
    assert plan.wait(60) == 0
    assert b"Traceback" not in told and b"BrokenPipe" not in told


def test_version_and_short_help() -> None:
    assert re.fullmatch(r"corpus \d+\.\d+\.\d+\n", corpus("--version").stdout)
    assert corpus("-h").stdout == corpus("--help").stdout
    assert "INPUT" in corpus("build", "-h").stdout


def test_config_shows_what_an_override_comes_to() -> None:
    assert (
        json.loads(corpus("config", "--set", "diarize.max_speakers=2").stdout)["diarize"]["max_speakers"] == 2
    )
    wrong = corpus("config", "--set", "diarize.speakers=2")
    assert wrong.returncode == 2 and "diarize.speakers" in wrong.stderr


def test_probe_takes_folders_and_names_files(tmp_path: Path, media: ModuleType) -> None:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    for name in ("one.WAV", "deep/two.wav"):
        media.write_media(tmp_path / "x.wav", duration_s=1, audio=[media.Audio("pcm_s16le")])
        (tmp_path / "x.wav").rename(tmp_path / "in" / name)
    (tmp_path / "in" / "notes.txt").write_text("no media")
    done = corpus("probe", "--json", str(tmp_path / "in"))
    assert done.returncode == 0, done.stderr
    files = [json.loads(line)["file"] for line in done.stdout.splitlines()]
    assert files == [str(tmp_path / "in" / name) for name in ("deep/two.wav", "one.WAV")]


def test_commands_have_plain_names() -> None:
    from typer.main import get_command

    groups, names = [get_command(app)], []
    while groups:
        for name, command in getattr(groups.pop(), "commands", {}).items():
            names.append(name)
            groups.append(command)
    assert {"build", "serve", "agree", "sql", "prune", "compare"} <= set(names)
    assert all(name[0].isalpha() for name in names), names
