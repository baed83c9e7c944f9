"""A held-out curve beside the training curve: right, the same every time, and without a trace in the run."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from corpus.trainer.config import RunConfig
from corpus.trainer.data.loader import Loader
from corpus.trainer.data.sequence import EOW, SIL, SPK
from corpus.trainer.model.model import InteractionModel
from corpus.trainer.parallel.ranks import Ranks
from corpus.trainer.train.compare import compare, panels
from corpus.trainer.train.held_out_rows import HeldOutRows
from corpus.trainer.train.load_model import load_model
from corpus.trainer.train.logs import Log
from corpus.trainer.train.loop import train_model
from corpus.trainer.train.run_report import read_lines

SmallRun = Callable[..., RunConfig]


@pytest.fixture(scope="module")
def splits(rules: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = rules.write(tmp_path_factory.mktemp("splits"), "beep", {"train": 8, "validation": 3}, windows=40)
    return Path(made.path)


def test_losses_are_those_of_the_rows(small_run: SmallRun, splits: Path) -> None:
    config = small_run(f"data.data={splits}", "held_out_every=1", "held_out_rows=2", "loss.answers=3")
    rows = HeldOutRows(config, Ranks(device=torch.device("cpu")))
    model = InteractionModel(config.model).train()
    found = rows.losses(model)
    assert model.training and found == rows.losses(model)
    data = dataclasses.replace(config.data, split="validation", rows=2)
    own = dataclasses.replace(config, data=data)
    batch = next(iter(Loader(own, epochs=1)))[0]
    sums = model.eval()(batch, config.loss)
    nats, tokens = (float(sums.text_S[place]) for place in (0, 4))
    assert found.control == pytest.approx(nats / tokens, rel=1e-6)
    assert found.audio == pytest.approx(float(sums.audio_sum.detach() / sums.audio_weight), rel=1e-6)
    # By window, counted one position at a time.
    assert 2 <= len(found.by_window) <= 6
    nats_at = dict(zip(batch.text_at_S.tolist(), sums.nats_N.tolist(), strict=True))
    for part in found.by_window:
        own_nats: dict[str, list[float]] = {"control": [], "words": []}
        for place, value in nats_at.items():
            row, column = divmod(place, config.data.length)
            target = int(batch.text_target_BL[row, column])
            inside = part.start <= max(0, int(batch.turn_BL[row, column])) < part.stop
            if inside and float(batch.text_weight_BL[row, column]) > 0 and target != EOW:
                own_nats["control" if target in (SIL, SPK) else "words"].append(value)
        for name, values in own_nats.items():
            mean = getattr(part, name)
            assert mean == pytest.approx(sum(values) / len(values)) if values else mean is None
    assert int(batch.turn_BL.max()) < found.by_window[-1].stop


def test_a_run_that_looks_ends_with_the_same_bits(small_run: SmallRun, splits: Path, tmp_path: Path) -> None:
    pairs = (f"data.data={splits}", "steps=4")
    train_model(small_run(*pairs), tmp_path / "blind", talk=lambda _: None)
    train_model(small_run(*pairs, "held_out_every=2"), tmp_path / "looks", talk=lambda _: None)
    mine, theirs = (load_model(tmp_path / name)[0].state_dict() for name in ("blind", "looks"))
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    lines = read_lines(tmp_path / "looks" / "log.jsonl")
    assert [line["held_out_control"] is not None for line in lines] == [False, True, False, True]
    blind = read_lines(tmp_path / "blind" / "log.jsonl")
    assert all(line["held_out_control"] is None for line in blind)
    assert [bool(line["held_out_by_window"]) for line in lines] == [False, True, False, True]
    drawn = (tmp_path / "looks" / "report.html").read_text()
    assert "control, held out" in drawn and "When to speak by window, held out" in drawn
    compare([tmp_path / "blind", tmp_path / "looks"], tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "When to speak, held out" in page and "looks: held_out_every 0 -&gt; 2" in page
    assert "blind: " in page and page.count("<svg") >= 5


def test_without_the_split_there_is_no_curve_and_it_is_said(small_run: SmallRun, tmp_path: Path) -> None:
    said: list[str] = []
    train_model(small_run("steps=1", "held_out_every=1"), tmp_path / "run", talk=said.append)
    assert any("no held-out curve" in line for line in said)


def test_runs_of_other_steps_are_compared_over_all_of_them() -> None:
    logs = {
        "a": [{"step": 10, "audio": 1.0}, {"step": 20, "audio": 2.0}],
        "b": [{"step": 5, "audio": 4.0}, {"step": 15, "audio": None}, {"step": 25, "audio": 2.0}],
        "c": [{"step": 5}],
    }
    ((panel, steps),) = panels(logs)
    assert steps == [5, 10, 15, 20, 25]
    values = {curve.label: list(curve.values) for curve in panel.curves}
    assert values == {"a": [None, 1.0, 1.5, 2.0, None], "b": [4.0, 3.5, 3.0, 2.5, 2.0]}


WANDB = """
import json
calls = []


class _Run:
    def log(self, values, step):
        calls.append((step, sorted(values)))

    def finish(self):
        calls.append("finish")


def init(**how):
    if how["mode"] == "broken":
        raise RuntimeError("no key")
    calls.append(how)
    return _Run()
"""


def test_wandb_is_told_where_it_is_installed(
    small_run: SmallRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "wandb.py").write_text(WANDB)
    monkeypatch.syspath_prepend(tmp_path / "lib")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    import wandb  # type: ignore[import-not-found]

    train_model(small_run("steps=2"), tmp_path / "run", talk=lambda _: None)
    how, *steps, last = wandb.calls
    assert how["mode"] == "offline" and how["name"] == "run" and how["dir"] == str(tmp_path / "run")
    assert [step for step, _ in steps] == [1, 2] and "nats_control" in steps[0][1] and last == "finish"
    monkeypatch.setenv("WANDB_MODE", "broken")
    said: list[str] = []
    log: Any = Log(tmp_path / "run", 2, 2, said.append)
    log.close()
    assert said == ["wandb is left out: no key"]
    assert json.loads((tmp_path / "run" / "log.jsonl").read_text().splitlines()[0])["step"] == 1
