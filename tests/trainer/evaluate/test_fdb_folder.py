"""Full-Duplex-Bench's own folders are answered in place, on each input's clock."""

from __future__ import annotations

import dataclasses
import json
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from corpus.schemas.errors import FormatError, UsageError
from corpus.trainer.evaluate.fdb_folder import FdbResult, run_folder, said
from corpus.trainer.model.model import InteractionModel
from corpus.trainer.presets import MODELS
from corpus.trainer.session.sampling import Sampling
from corpus.trainer.session.talk import wave_bytes

SAMPLED = Sampling(control="sampled")
LENGTHS = {"pause": 20_000, "turn": 16_000, "interrupt": 25_600, "overlap": 12_345}


@pytest.fixture(scope="module")
def model() -> InteractionModel:
    torch.set_num_threads(1)
    return InteractionModel(dataclasses.replace(MODELS["tiny"], picture_rows=0)).eval()


@pytest.fixture
def bench(tmp_path: Path) -> Path:
    """A sample of each kind, in folders as they are unpacked; one of v1.5."""
    rng = np.random.default_rng(0)
    labels: dict[str, tuple[str, Any]] = {
        "pause": ("pause.json", [{"text": "[PAUSE]", "timestamp": [0.4, 0.6]}]),
        "turn": ("turn_taking.json", [{"text": "[TURN-TAKING]", "timestamp": [0.4, 0.9]}]),
        "interrupt": ("interrupt.json", [{"context": "a", "interrupt": "b", "timestamp": [0.3, 0.8]}]),
        "overlap": ("metadata.json", {"timestamps": [0.1, 0.2]}),
    }
    for name, (file, content) in labels.items():
        folder = tmp_path / name / "7"
        folder.mkdir(parents=True)
        (folder / file).write_text(json.dumps(content))
        sound = (3000 * rng.standard_normal((LENGTHS[name], 1))).astype(np.int16)
        (folder / "input.wav").write_bytes(wave_bytes(sound))
        if name == "overlap":
            (folder / "clean_input.wav").write_bytes(wave_bytes(sound[:9000]))
    return tmp_path


def length_of(path: Path) -> int:
    with wave.open(str(path)) as opened:
        assert (opened.getnchannels(), opened.getframerate()) == (1, 16_000)
        return opened.getnframes()


def test_every_sample_is_answered_beside_its_input(model: InteractionModel, bench: Path) -> None:
    result = run_folder(model, bench, sampling=SAMPLED)
    assert (result.samples, result.clean, result.recognised) == (4, 1, False)
    assert [(task.task, task.samples) for task in result.tasks] == [
        ("pause_handling", 1),
        ("smooth_turn_taking", 1),
        ("user_interruption", 1),
    ]
    for name, length in LENGTHS.items():
        folder = bench / name / "7"
        assert length_of(folder / "output.wav") == length
        told = json.loads((folder / "output.json").read_text())
        assert told["text"] == " ".join(chunk["text"] for chunk in told["chunks"])
        first = 0.8 if name == "interrupt" else 0.0
        assert all(first <= chunk["timestamp"][0] < length / 16_000 for chunk in told["chunks"])
    overlap = bench / "overlap" / "7"
    assert length_of(overlap / "clean_output.wav") == 9000
    assert {path.name for path in overlap.iterdir()} == {
        *("metadata.json", "input.wav", "output.wav", "output.json"),
        *("clean_input.wav", "clean_output.wav", "clean_output.json"),
    }
    with pytest.raises(UsageError, match="have an output"):
        run_folder(model, bench)
    before = (bench / "turn/7/output.wav").read_bytes()
    run_folder(model, bench, sampling=SAMPLED, replace=True)
    assert (bench / "turn/7/output.wav").read_bytes() == before


def test_a_recogniser_hears_what_was_said_after_the_interruption(
    model: InteractionModel, bench: Path
) -> None:
    lengths = []

    def recorded(sound_S: np.ndarray) -> list[dict[str, Any]]:
        lengths.append(len(sound_S))
        return [{"text": word, "timestamp": [0.1 + 0.3 * k, 0.3 + 0.3 * k]} for k, word in enumerate("abcd")]

    result = run_folder(model, bench, recogniser=recorded)
    # Of an interruption the rest alone; of v1.5 all four sounds.
    assert sorted(lengths) == sorted([20_000, 16_000, 25_600 - 12_800, 12_345, 12_345, 9000, 9000])
    told = json.loads((bench / "interrupt/7/output.json").read_text())["chunks"]
    assert [chunk["timestamp"] for chunk in told] == [[0.9, 1.1], [1.2, 1.4], [1.5, 1.7], [1.8, 2.0]]
    overlap = {path.stem for path in (bench / "overlap/7").glob("*.json")}
    assert overlap == {"metadata", "input", "clean_input", "output", "clean_output"}
    # Four words are a turn: in each task, 0.1 s after what the scripts count from.
    figures = {task.task: (task.taken, task.latency_s) for task in result.tasks}
    assert figures["pause_handling"] == (1, None)
    assert figures["smooth_turn_taking"] == (1, 0.0)
    assert figures["user_interruption"] == (1, pytest.approx(0.1))
    assert not any("--asr" in line for line in said(result))


def test_a_script_that_will_divide_by_nothing_is_told_of(model: InteractionModel, bench: Path) -> None:
    result = run_folder(model, bench, recogniser=lambda _: [])
    lines = list(said(result))
    assert any("smooth_turn_taking divides by the number of turns taken" in line for line in lines)
    assert not any("pause_handling divides" in line for line in lines)
    assert isinstance(result, FdbResult)


def test_what_is_no_benchmark_is_said(model: InteractionModel, tmp_path: Path, bench: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(UsageError, match="holds no sample"):
        run_folder(model, empty)
    (bench / "pause/7/pause.json").write_text('{"timestamp": 1}')
    with pytest.raises(FormatError, match=r"pause\.json"):
        run_folder(model, bench / "pause")
