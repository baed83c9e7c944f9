from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from corpus.trainer.config import LossConfig, ModelConfig
from corpus.trainer.data import LoaderState
from corpus.trainer.logs import Log, LogLine, Meter, progress, windows_of
from corpus.trainer.model import LossSums
from corpus.trainer.sequence import Batch, Positions


def state(positions: int, padding: int, text: int = 0, spilled: int = 0) -> LoaderState:
    return LoaderState(
        dataset="", settings="", seed=0, positions=positions, padding=padding, text=text, text_spilled=spilled
    )


def sums(text: float, audio: float, weight: float, load: list[list[int]]) -> LossSums:
    zero = torch.zeros(())
    return LossSums(
        text_sum=torch.tensor(text),
        text_weight=torch.tensor(weight),
        audio_sum=torch.tensor(audio),
        audio_weight=torch.tensor(2 * weight),
        balance=torch.tensor(3.0),
        router_z=zero,
        positions=torch.tensor(6.0),
        load_NE=torch.tensor(load),
        weights=LossConfig(),
    )


def line(step: int = 1, **values: float | None) -> LogLine:
    meter = Meter(LossConfig())
    made = meter.line(state(0, 0), state(1, 0), peak_flops=None, step=step, grad_norm=1.0, lr=0.1, skipped=0)
    return LogLine(**{name: values.get(name, getattr(made, name)) for name in LogLine.__slots__})


def test_sums_become_means_over_all_micro_batches() -> None:
    times = iter([100.0, 104.0])
    meter = Meter(LossConfig(text=2.0, balance=0.5), clock=lambda: next(times))
    meter.add(sums(6.0, 1.0, 1.0, [[1, 3], [2, 2]]))
    meter.add(sums(2.0, 5.0, 3.0, [[1, 3], [2, 2]]))
    meter.step(counts=True)
    meter.add(sums(torch.nan, 1.0, 1.0, [[9, 0], [9, 0]]))
    meter.step(counts=False)
    meter.windows += 40
    meter.waited_s = 0.5
    meter.flops = 8e9
    made = meter.line(
        state(100, 10, 50, 5),
        state(280, 30, 70, 10),
        peak_flops=1e10,
        step=2,
        grad_norm=1.0,
        lr=0.1,
        skipped=1,
    )
    assert (made.text, made.audio, made.balance) == (2.0, 0.75, 0.5)
    assert made.loss == pytest.approx(2 * 2.0 + 0.75 + 0.25)
    assert (made.positions, made.positions_per_s) == (280, 45.0)
    assert made.audio_hours_per_hour == 2.0
    assert made.data_wait_ms == 250.0
    assert made.mfu == 0.2
    assert made.expert_load == 1.5
    assert (made.padding, made.text_spilled) == (0.1, 0.25)


def test_windows_are_counted_across_documents(
    tiny: ModelConfig, make_document: Callable[..., Positions], pack_rows: Callable[..., Batch]
) -> None:
    batch = pack_rows(
        [[make_document(tiny, 3, pictures=False), make_document(tiny, 2, pictures=False)], []][:1], 160
    )
    assert int(windows_of(batch)) == 5


def test_lines_of_steps_to_be_done_again_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n{"step": 4, "lo')
    log = Log(tmp_path, 10, 2, print)
    log.write(line(step=3))
    log.close()
    assert [json.loads(text)["step"] for text in path.read_text().splitlines()] == [1, 2, 3]


def test_a_number_that_is_none_is_null(tmp_path: Path) -> None:
    log = Log(tmp_path, 10, 0, print)
    log.write(line(grad_norm=float("nan"), loss=None))
    log.close()
    written = json.loads((tmp_path / "log.jsonl").read_text())
    assert written["grad_norm"] is None and written["loss"] is None


def test_nothing_is_drawn_without_a_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = Log(tmp_path, 10, 0, print)
    log.write(line())
    log.advance(1)
    log.close()
    assert capsys.readouterr() == ("", "")


def test_the_progress_line() -> None:
    made = line(text=1.25, audio=None, positions_per_s=1234.4, audio_hours_per_hour=5.25, mfu=0.4512)
    assert progress(made).startswith("text 1.2500, audio -, 1234 pos/s, 5.2 h/h, wait 0 ms, MFU 45.1 %")
