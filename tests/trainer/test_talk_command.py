"""The commands, from a run to sound, tables and plans."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
import typer

from corpus.cli.main import app
from corpus.schemas.errors import StorageError, UsageError
from corpus.trainer.presets import MODELS
from corpus.trainer.session.talk import wave_bytes


@pytest.fixture(scope="module")
def run(rules: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run of one step, and its dataset."""
    from corpus.trainer.overrides import with_overrides
    from corpus.trainer.presets import preset
    from corpus.trainer.train.loop import train_model

    folder = tmp_path_factory.mktemp("cli")
    data = rules.write(folder, "beep", {"train": 8, "validation": 2}, windows=30).path
    config = with_overrides(
        preset("tiny"),
        [f"data.data={data}", "data.pictures=false", "model.picture_rows=0", "steps=1", "device=cpu"],
    )
    train_model(config, folder / "run", talk=lambda _: None)
    return folder / "run", data


def test_talk(run: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    user = np.random.default_rng(0).integers(-900, 900, (6400, 1)).astype(np.int16)
    (tmp_path / "user.wav").write_bytes(wave_bytes(user))
    common = ["talk", "--run", str(run[0]), "--user", str(tmp_path / "user.wav"), "--out"]
    app([*common, str(tmp_path / "out"), "--event", "0.2:tool: 21 degrees"], standalone_mode=False)
    out, err = capsys.readouterr()
    names = [Path(line).name for line in out.splitlines()]
    assert names == ["talk.wav", "transcript.jsonl", "timing.csv"]
    assert all((tmp_path / "out" / name).is_file() for name in names)
    assert "2 windows" in err
    app([*common, str(tmp_path / "again"), "--json"], standalone_mode=False)
    assert json.loads(capsys.readouterr().out)["windows"] == 2
    read = MODELS["tiny"].text_slots - 1  # of the last window; one place takes the mark that begins an event
    assert f"the last {len('tool: 21 degrees') - read} characters of the events were not read" in err
    app([*common, str(tmp_path / "short"), "--event", "0.2:x"], standalone_mode=False)
    assert "were not read" not in capsys.readouterr().err


def test_talk_reads_an_exported_model(
    run: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And says what the run it is of says; what only a run knows is asked of the run."""
    user = np.random.default_rng(0).integers(-900, 900, (6400, 1)).astype(np.int16)
    (tmp_path / "user.wav").write_bytes(wave_bytes(user))
    model = tmp_path / "model"
    app(["export", "--run", str(run[0]), "--out", str(model)], standalone_mode=False)
    common = ["--user", str(tmp_path / "user.wav"), "--out"]
    for source, out in ((run[0], "a"), (model, "b")):
        app(["talk", "--run", str(source), *common, str(tmp_path / out)], standalone_mode=False)
    for name in ("talk.wav", "transcript.jsonl"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    with pytest.raises(UsageError, match="one set of weights"):
        app(["talk", "--run", str(model), *common, str(tmp_path / "c"), "--ema"], standalone_mode=False)
    with pytest.raises(UsageError, match="is an exported model, not a run"):
        app(["eval", "--run", str(model), "--data", str(run[1])], standalone_mode=False)


def test_a_device_that_is_not_there(run: tuple[Path, Path], tmp_path: Path) -> None:
    common = ["talk", "--run", str(run[0]), "--user", str(tmp_path / "u.wav"), "--out", str(tmp_path)]
    (tmp_path / "u.wav").write_bytes(wave_bytes(np.zeros((6400, 1), np.int16)))
    for device in ("tpu", "cuda") if not torch.cuda.is_available() else ("tpu",):
        with pytest.raises(UsageError, match=r"no device|no GPU"):
            app([*common, "--device", device], standalone_mode=False)


def test_eval(run: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ["eval", "--run", str(run[0]), "--data", str(run[1])]
    app([*common, "--json", "--free", "1"], standalone_mode=False)
    report = json.loads(capsys.readouterr().out)
    assert (report["schema"], report["documents"], report["free_documents"]) == ("corpus.eval/6", 2, 1)
    page, fdb = str(tmp_path / "page.html"), str(tmp_path / "fdb")
    app([*common, "--free", "0", "--documents", "1", "--bench", fdb, "--report", page], standalone_mode=False)
    out, err = capsys.readouterr()
    assert max(map(len, out.splitlines())) <= 100
    # Calibration twice and three curves by window; no latencies without cues.
    assert Path(page).read_text().count("<svg") == 5
    assert "told what the person did before, 1 document\n" in out and "control" in out
    for pair in (("--documents", "0"), ("--free", "-1")):
        with pytest.raises(typer.BadParameter, match="greater than or equal"):
            app([*common, *pair], standalone_mode=False)
    # This corpus has no cues.
    assert "these clips have no suitable cues; nothing was written" in err and fdb not in err
    assert not Path(fdb).exists()
    with pytest.raises(StorageError, match="is not a folder"):
        app([*common, "--free", "0", "--documents", "1", "--bench", page], standalone_mode=False)


def test_plan(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["train", "plan", "--preset", "tml-276b-a12b", "--gpus", "256", "--gpu", "h100"]
    app(command, standalone_mode=False)
    assert "4 stages x 8 expert ranks x 8 copies" in capsys.readouterr().out
    app([*command, "--json"], standalone_mode=False)
    assert json.loads(capsys.readouterr().out)["counts"]["total"] > 276e9


def test_help_does_not_load_torch() -> None:
    code = "import sys, corpus.cli.main; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
