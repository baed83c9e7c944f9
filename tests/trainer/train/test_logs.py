from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from tqdm import tqdm

from corpus.trainer.config import LossConfig
from corpus.trainer.data.loader import LoaderState
from corpus.trainer.train.log_line import LayerLine, LogLine
from corpus.trainer.train.logs import BAR, Log, progress, scalars
from corpus.trainer.train.meter import LastStep, Meter


def line(step: int = 1, **values: Any) -> LogLine:
    state = LoaderState(dataset="", settings="", seed=0)
    made = Meter(LossConfig()).line(state, state, LastStep(step=step, grad_norm=1.0, lr=0.1, skipped=0))
    return dataclasses.replace(made, **values)


def layer(number: int, **values: Any) -> LayerLine:
    made = LayerLine(layer=number, load=1.5, load_speaking=None, entropy=0.9, dead=0, margin=0.25)
    return dataclasses.replace(made, **values)


def test_lines_of_steps_to_be_done_again_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n{"step": 4, "lo')
    log = Log(tmp_path, 10, 2, print)
    log.write(line(step=3))
    log.close()
    assert [json.loads(text)["step"] for text in path.read_text().splitlines()] == [1, 2, 3]


def test_damaged_lines_are_dropped_and_do_not_stop_a_run(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    damaged = (b'{"step": \xff\xfe}', b"\x00\x00\x00", b'{"step": "2"}', b"[2]", b'{"loss": 1.0}')
    path.write_bytes(b'{"step": 1}\n' + b"\n".join(damaged) + b'\n{"step": 2}\n\xc3')
    log = Log(tmp_path, 10, 2, print)
    log.write(line(step=3))
    log.close()
    assert [json.loads(text)["step"] for text in path.read_text().splitlines()] == [1, 2, 3]


def test_a_number_that_is_none_is_null(tmp_path: Path) -> None:
    log = Log(tmp_path, 10, 0, print)
    log.write(line(grad_norm=float("nan"), loss=None, layers=(layer(3, margin=float("inf")),)))
    log.close()
    written = json.loads((tmp_path / "log.jsonl").read_text())
    assert written["grad_norm"] is None and written["loss"] is None
    assert written["layers"][0]["margin"] is None and written["layers"][0]["layer"] == 3


def test_a_plain_line_each_without_a_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = Log(tmp_path, 10, 0, print)
    log.write(line())
    log.advance(1)
    log.close()
    assert capsys.readouterr() == ("", f"step 1/10: {progress(line())}\n")


def test_the_line_of_a_small_run_fits_into_100_columns() -> None:
    made = line(
        nats_control=1.23,
        nats_words=1.23,
        audio=1.23,
        positions_per_s=1765.0,
        audio_hours_per_hour=7.2,
        data_wait_ms=12.0,
    )
    told = tqdm.format_meter(300, 20_000, 180.0, bar_format=BAR, postfix=progress(made))
    assert told.endswith("wait 12 ms") and len(told) <= 100


def test_the_progress_line() -> None:
    made = line(nats_control=0.25, nats_words=1.25, positions_per_s=1234.4, mfu=0.4512)
    told = "control 0.250, words 1.25, audio -, 1234 pos/s, 0.0 h/h, MFU 45.1 %, wait 0 ms"
    assert progress(made) == told


def test_every_field_of_a_line_is_explained() -> None:
    """log.jsonl is read by programs: docs/trainer-reference.md says what each of its names means."""
    page = (Path(__file__).parents[3] / "docs" / "trainer-reference.md").read_text()
    told = page[page.index("corpus.log/4") :]
    names = [field.name for form in (LogLine, LayerLine) for field in dataclasses.fields(form)]
    assert [name for name in names if f"`{name}`" not in told] == []


def test_layers_are_scalars_of_their_own() -> None:
    plain = dataclasses.asdict(line(layers=(layer(1), layer(12, load_speaking=2.0)), text=1.25))
    found = dict(scalars(plain))
    assert found["text"] == 1.25 and found["layer_01/load"] == 1.5 and found["layer_12/load_speaking"] == 2.0
    assert not {"schema", "step", "layers", "layer_01/layer", "layer_01/load_speaking"} & set(found)


def test_tensorboard_gets_every_scalar(tmp_path: Path) -> None:
    """Runs where tensorboard is installed, which the project does not ask for."""
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = Log(tmp_path, 10, 0, print)
    lines = [line(step=step, text=1 / step, loss=None, layers=(layer(1, load=step),)) for step in (1, 2)]
    for each in lines:
        log.write(each)
    log.close()
    board = EventAccumulator(str(tmp_path / "tensorboard"))
    board.Reload()
    expected = {name for name, _ in scalars(dataclasses.asdict(lines[0]))}
    assert set(board.Tags()["scalars"]) == expected and "loss" not in expected
    assert [(e.step, e.value) for e in board.Scalars("text")] == [(1, 1.0), (2, 0.5)]
    assert [e.value for e in board.Scalars("layer_01/load")] == [1.0, 2.0]
