"""Samples in Full-Duplex-Bench's folders say what the session did, on one clock."""

from __future__ import annotations

import dataclasses
import json
import wave
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from corpus.schemas.activity import SPEECH
from corpus.schemas.clock import WINDOW_US
from corpus.schemas.conversation import Cue
from corpus.trainer.evaluate.duplex_bench import words_of, write_bench
from corpus.trainer.evaluate.evaluate import heard_of
from corpus.trainer.model.model import InteractionModel
from corpus.trainer.presets import MODELS, preset
from corpus.trainer.session.sampling import Sampling
from corpus.trainer.session.session import MicroTurnOut


def cue(label: str, kind: str, speaker: str, first: float, stop: float) -> Cue:
    return Cue(
        label=label,
        kind=kind,
        speaker=speaker,
        start_us=round(first * WINDOW_US),
        stop_us=round(stop * WINDOW_US),
        confidence=1.0,
        origin="x",
    )


@pytest.fixture(scope="module")
def written(rules: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, object]:
    draft, _ = rules.talk("bench", 50, speakers=2, pictures=False)
    draft.split = "validation"
    draft.cues += [
        cue("yield", "turn_end", "Ann", 30.4, 31.2),
        cue("hold", "pause", "Ann", 40.0, 42.5),
        cue("interruption", "butting_in", "Ann", 10.0, 12.0),
        cue("backchannel", "lexical", "Bo", 20.0, 22.0),
    ]
    folder = tmp_path_factory.mktemp("bench")
    data = rules.store(folder, [draft], windows_per_clip=50)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = preset("tiny")
    model = dataclasses.replace(MODELS["tiny"], picture_rows=0)
    config = dataclasses.replace(
        config, model=model, data=dataclasses.replace(config.data, length=700, pictures=False)
    )
    made = InteractionModel(model).eval()
    count = write_bench(made, config, data, folder / "fdb", sampling=Sampling(control="sampled"))
    assert count == 4
    return folder / "fdb", draft


def samples(path: Path) -> np.ndarray:
    with wave.open(str(path)) as opened:
        assert (opened.getnchannels(), opened.getframerate()) == (1, 16_000)
        return np.frombuffer(opened.readframes(opened.getnframes()), "<i2")


def test_folders_and_clock(written: tuple[Path, object]) -> None:
    folder, draft = written
    found = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    common = ("input.wav", "output.json", "output.wav")
    expected = [
        *(f"backchannel/1/{name}" for name in common),
        "icc_gt_distribution.json",
        *(f"pause_handling/1/{name}" for name in (*common, "pause.json")),
        *(f"smooth_turn_taking/1/{name}" for name in (*common, "turn_taking.json")),
        *(f"user_interruption/1/{name}" for name in ("input.wav", "interrupt.json", *common[1:])),
    ]
    assert found == sorted(expected)
    # The other and the room, without Bo, since he stopped; up to the window after the pause in 40 to 42.
    heard = np.clip(draft.sound[[0, 2]].astype(int).sum(0), -32768, 32767)
    pause = samples(folder / "pause_handling/1/input.wav")
    start = 44 - len(pause) // 3200
    assert np.array_equal(pause, heard[start * 3200 : 44 * 3200])
    assert 15 <= start <= 40 and not (draft.flags[1, start:40] & SPEECH).any()
    label = json.loads((folder / "pause_handling/1/pause.json").read_text())
    assert label[0]["timestamp"] == [round((40 - start) * 0.2, 3), round((43 - start) * 0.2, 3)]
    label = json.loads((folder / "smooth_turn_taking/1/turn_taking.json").read_text())
    first, stop = label[0]["timestamp"]
    assert round(stop - first, 3) == round((32 - 30) * 0.2, 3)  # up to the end of the silence
    label = json.loads((folder / "user_interruption/1/interrupt.json").read_text())
    assert label[0]["timestamp"][0] == 2.0 <= label[0]["timestamp"][1]
    spoken = [word for word in draft.words if word.speaker == "Ann"]
    ended = 10 + round((label[0]["timestamp"][1] - 2.0) / 0.2)
    for name, start, end in (("context", 0, 10), ("interrupt", 10, ended)):
        inside = [
            word
            for word in sorted(spoken, key=lambda word: word.start_us)
            if start <= word.start_us // WINDOW_US < end
        ]
        assert label[0][name] == " ".join(word.text for word in inside)
    assert label[0]["context"] or label[0]["interrupt"]
    truth = json.loads((folder / "icc_gt_distribution.json").read_text())
    assert truth["1"][20:22] == [0.5, 0.5] and len(truth["1"]) == 51
    after = json.loads((folder / "user_interruption/1/output.json").read_text())["chunks"]
    assert all(chunk["timestamp"][0] >= label[0]["timestamp"][1] for chunk in after)
    for output in folder.rglob("output.wav"):
        assert len(samples(output)) == len(samples(output.with_name("input.wav")))
        told = json.loads(output.with_name("output.json").read_text())
        ends = len(samples(output)) / 16_000
        assert all(0 <= chunk["timestamp"][0] < ends for chunk in told["chunks"])
        assert told["text"] == " ".join(chunk["text"] for chunk in told["chunks"])


def test_words_span_the_windows_they_are_heard_in() -> None:
    def out(turn: int, text: str) -> MicroTurnOut:
        return MicroTurnOut(
            turn=turn, speak=bool(text), p_speak=1.0, text=text, tokens=(), mel=None, logprobs=(), ms=0.0
        )

    found = words_of([out(0, " he"), out(1, "llo y"), out(2, "ou"), out(7, " ok")])
    assert found == [
        {"text": "hello", "timestamp": [0.2, 0.6]},
        {"text": "you", "timestamp": [0.4, 0.8]},
        {"text": "ok", "timestamp": [1.6, 1.8]},
    ]
    assert words_of([]) == []
    # Broken off, and something else said after a silence.
    found = words_of([out(0, " he"), out(1, ""), out(2, "you")])
    assert [chunk["timestamp"] for chunk in found] == [[0.2, 0.4], [0.6, 0.8]]
    assert heard_of([out(0, " he"), out(1, ""), out(2, "you")], 5)[1].tolist() == [0, 1, 0, 1, 0]
