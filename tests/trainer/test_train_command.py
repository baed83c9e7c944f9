"""`corpus train` and `corpus export` as people call them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from corpus.cli import main

Run = Callable[..., tuple[int, str, str]]

Start = Callable[..., Any]

SMALL = ("data.length=72", "data.rows=4", "data.pictures=false", "log_every=1", "save_every=2")


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
    assert code == 0 and "resuming from step 2" in err and "step 3 done" in err
    code, out, _ = corpus("export", "--run", run, "--out", str(tmp_path / "model"))
    assert code == 0
    assert out.split() == [str(tmp_path / "model" / name) for name in ("config.json", "model.safetensors")]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--preset", "tiny", "--run", "RUN"], "give --data OUT"),
        (["--preset", "tiny", "--data", "x"], "--run is needed"),
        (["--run", "RUN"], "start one with --preset"),
        (["--run", "RUN", "--data", "x"], "start one with --preset"),
        (["--preset", "huge", "--run", "RUN", "--data", "x"], "one of tiny"),
        (["--preset", "tiny", "--run", "RUN", "--data", "x", "stepz=3"], "did you mean steps"),
        (["--preset", "tiny", "--run", "RUN", "--data", "x", "steps=0"], "at least 1"),
        (["--preset", "tiny", "--run", "RUN", "--data", "x", "--steps", "3"], "write steps=3"),
        (["--preset", "tiny", "--run", "RUN", "--data", "x", "--optim.lr=1e-3"], "write optim.lr=1e-3"),
        (["--preset", "tiny", "--run", "RUN", "--data", "x", "--step", "3"], "`corpus train --help`"),
        (["plan", "--gpus", "few"], "`corpus train plan --help`"),
        (["--preset", "tiny", "--run", "RUN", "--data", "x", "STEPS=3"], "did you mean steps"),
        (["--run", "RUN", "--data", "x", "preset=tiny"], "start one with --preset"),
        (["--preset", "tiny", "--run", "RUN", "--data", "x", "preset=small"], "write --preset"),
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
    assert code == 1 and "manifest.json is missing" in err
    assert not (tmp_path / "run").exists()


NUDGED = """
import os, signal, sys

class Nudge:
    times = 0

    def find_spec(self, name, path=None, target=None):
        self.times += name == "numpy.matrixlib"
        if name == "numpy.matrixlib" and self.times == 1:
            os.kill(os.getpid(), signal.SIGTERM)

sys.meta_path.insert(0, Nudge())
from corpus.cli.main import main
main()
"""


def test_a_stop_while_packages_are_loaded_is_heeded(start_python: Start, beeps: Path, tmp_path: Path) -> None:
    """Raised there it is swallowed, and half of numpy stays."""
    asked = ("--preset", "tiny", *SMALL, "steps=2", "--data", str(beeps), "--run", str(tmp_path / "run"))
    (done,) = start_python("-c", NUDGED, "train", *asked)
    assert done.returncode == 130 and "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


CUT_OFF = """
import os, sys
from pathlib import Path
from corpus.cli.main import main
from corpus.trainer.train import step

learn, shards = step.Learner.learn, list(Path(sys.argv[-1]).rglob("*.tar"))

def cut_first(*args):
    while shards:
        os.truncate(shards.pop(), 512)
    return learn(*args)

step.Learner.learn = cut_first
main()
"""


def test_a_shard_cut_off_while_it_is_read_does_not_end_it_without_a_word(
    start_python: Start, beeps: Path, tmp_path: Path
) -> None:
    data = shutil.copytree(beeps, tmp_path / "data")
    asked = ("--preset", "tiny", *SMALL, "steps=99", "--run", str(tmp_path / "run"), "--data", str(data))
    (done,) = start_python("-c", CUT_OFF, "train", *asked)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "the file was cut off while it was in use" in done.stderr and ".tar" in done.stderr


def test_help_shows_examples(corpus: Run) -> None:
    code, out, _ = corpus("train", "--help")
    assert code == 0 and "corpus train --preset tiny --data dataset --run run" in out and "torchrun" in out
    code, out, _ = corpus("export", "--help")
    assert code == 0 and "corpus export --run run --out model" in out
