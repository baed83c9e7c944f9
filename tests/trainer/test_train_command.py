"""`corpus train` and `corpus export` as people call them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from corpus.cli import main

Run = Callable[..., tuple[int, str, str]]

SMALL = ("data.length=72", "data.pictures=false", "log_every=1", "save_every=2")


@pytest.fixture
def corpus(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["corpus", *arguments])
        with pytest.raises(SystemExit) as ended:
            main.main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return run


def test_train_then_go_on_then_export(corpus: Run, beeps: Path, tmp_path: Path) -> None:
    run = str(tmp_path / "run")
    code, out, err = corpus(
        "train", "steps=2", "--preset", "tiny", *SMALL, "--data", str(beeps), "--run", run, "optim.lr=1e-3"
    )
    assert (code, out) == (0, "") and "step 2 done" in err
    assert f"corpus eval --run {run} --data {beeps}" in err and f"{run}/report.html" in err
    assert f"corpus train --run {run} steps=4" in err
    assert "<svg" in (tmp_path / "run" / "report.html").read_text()
    config = json.loads((tmp_path / "run" / "config.json").read_text())["config"]
    assert config["optim"]["lr"] == 1e-3 and config["data"]["data"] == str(beeps)
    code, _, err = corpus("train", "--run", run, "steps=3")
    assert code == 0 and "going on from step 2" in err and "step 3 done" in err
    code, out, _ = corpus("export", "--run", run, "--out", str(tmp_path / "model"))
    assert code == 0
    assert out.split() == [str(tmp_path / "model" / name) for name in ("config.json", "model.safetensors")]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--preset", "tiny", "--run", "RUN"], "give --data OUT"),
        (["--preset", "tiny", "--data", "x"], "--run is needed"),
        (["--run", "RUN"], "begin one with --preset"),
        (["--run", "RUN", "--data", "x"], "begin one with --preset"),
        (["--preset", "huge", "--run", "RUN", "--data", "x"], "one of tiny"),
        (["--preset", "tiny", "--run", "RUN", "--data", "x", "stepz=3"], "did you mean steps"),
        (["--preset", "tiny", "--run", "RUN", "--data", "x", "steps=0"], "at least 1"),
        (["--preset", "tiny", "--run", "RUN", "--data", "x", "--steps", "3"], "write steps=3"),
        (["--preset", "tiny", "--run", "RUN", "--data", "x", "--optim.lr=1e-3"], "write optim.lr=1e-3"),
        (["--preset", "tiny", "--run", "RUN", "--data", "x", "--step", "3"], "No such option"),
    ],
)
def test_mistakes_are_one_line(corpus: Run, tmp_path: Path, arguments: list[str], says: str) -> None:
    code, out, err = corpus("train", *[a.replace("RUN", str(tmp_path / "run")) for a in arguments])
    assert code == 2 and out == "" and says in err and err.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_no_dataset_there(corpus: Run, tmp_path: Path) -> None:
    code, _, err = corpus(
        "train", "--preset", "tiny", "--data", str(tmp_path), "--run", str(tmp_path / "run")
    )
    assert code == 1 and "no manifest.json" in err


def test_help_shows_examples(corpus: Run) -> None:
    code, out, _ = corpus("train", "--help")
    assert code == 0 and "corpus train --preset tiny --data dataset --run run" in out and "torchrun" in out
    code, out, _ = corpus("export", "--help")
    assert code == 0 and "corpus export --run run --out model" in out
