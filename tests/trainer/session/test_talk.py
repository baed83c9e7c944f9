"""A recorded user is played to a model, and what happened is written down."""

from __future__ import annotations

import csv
import dataclasses
import json
import wave
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from corpus.schemas.errors import UsageError
from corpus.shards.read import open_clips
from corpus.trainer.model.model import InteractionModel
from corpus.trainer.presets import MODELS
from corpus.trainer.session.sampling import Sampling
from corpus.trainer.session.talk import late_windows, talk, wave_bytes
from corpus.trainer.session.talk_user import parse_event, user_of

SAMPLED = Sampling(control="sampled")


@pytest.fixture(scope="module")
def model() -> InteractionModel:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    return InteractionModel(dataclasses.replace(MODELS["tiny"], picture_rows=2, picture_columns=2)).eval()


def noise(samples: int, channels: int = 1, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-9000, 9000, (samples, channels)).astype(np.int16)


def test_a_wave_file(model: InteractionModel, tmp_path: Path) -> None:
    user = noise(10 * 3200 - 700)
    (tmp_path / "user.wav").write_bytes(wave_bytes(user))
    said = user_of(str(tmp_path / "user.wav"))
    assert said.windows == 10
    events = [parse_event("0.5:tool: 42"), parse_event("1:ünd")]
    result = talk(model, said, tmp_path / "out", events=events, sampling=SAMPLED, seed=4)
    assert result.windows == 10 and 0 < result.spoken < 10

    with wave.open(str(tmp_path / "out" / "talk.wav")) as opened:
        assert (opened.getnchannels(), opened.getframerate(), opened.getnframes()) == (2, 16_000, 11 * 3200)
        both = np.frombuffer(opened.readframes(11 * 3200), "<i2").reshape(-1, 2)
    assert np.array_equal(both[: len(user), 0], user[:, 0]) and not both[len(user) :, 0].any()
    with open(tmp_path / "out" / "timing.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert [int(row["window"]) for row in table] == list(range(10))
    # A window's first 25 ms are the end of the one before.
    heard = [bool(both[w * 3200 + 400 : (w + 1) * 3200, 1].any()) for w in range(11)]
    assert heard == [False, *(row["speak"] == "1" for row in table)]
    assert all(0 <= float(row["p_speak"]) <= 1 and float(row["ms"]) > 0 for row in table)
    assert sum(int(row["late"]) for row in table) == result.late

    lines = [json.loads(line) for line in (tmp_path / "out" / "transcript.jsonl").read_text().splitlines()]
    told = [(line["window"], line["time_s"], line["text"]) for line in lines if line["who"] == "event"]
    assert told == [(2, 0.4, "tool: 42"), (5, 1.0, "ünd")]
    assert "".join(line["text"] for line in lines if line["who"] == "model") == result.text
    assert [line["window"] for line in lines] == sorted(line["window"] for line in lines)

    talk(model, said, tmp_path / "again", events=events, sampling=SAMPLED, seed=4)
    for name in ("talk.wav", "transcript.jsonl"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_events_are_heard(model: InteractionModel, tmp_path: Path) -> None:
    (tmp_path / "user.wav").write_bytes(wave_bytes(noise(8 * 3200)))
    user = user_of(str(tmp_path / "user.wav"))

    def odds(name: str, events: list[tuple[int, str]]) -> list[str]:
        talk(model, user, tmp_path / name, events=events)
        with open(tmp_path / name / "timing.csv", newline="") as file:
            return [row["p_speak"] for row in csv.DictReader(file)]

    without, told = odds("a", []), odds("b", [(3, "hello")])
    assert without[:3] == told[:3] and without[3] != told[3]
    with pytest.raises(UsageError, match="the user stream ends at"):
        talk(model, user, tmp_path / "c", events=[(8, "late")])


def test_what_is_told_too_late_to_be_read_is_counted(model: InteractionModel, tmp_path: Path) -> None:
    (tmp_path / "user.wav").write_bytes(wave_bytes(noise(4 * 3200)))
    user = user_of(str(tmp_path / "user.wav"))
    room = 2 * model.config.text_slots - 1  # of the last two windows; an event begins with a mark
    for text in ("", 3 * "é"):
        result = talk(model, user, tmp_path / "out", events=[(2, room * "x" + text)])
        assert result.unread == len(text)
    assert (
        json.loads((tmp_path / "out" / "transcript.jsonl").read_text().splitlines()[0])["text"][-3:] == "ééé"
    )


def test_a_clip_is_played_without_its_speaker(
    rules: ModuleType, model: InteractionModel, tmp_path: Path
) -> None:
    draft, _ = rules.talk("talk-clip", 12, speakers=2)
    path = rules.store(tmp_path / "made", [draft], windows_per_clip=12)
    key = open_clips(path).keys()[0]
    user = user_of(f"{path}:{key}", "Bo")
    assert user.windows == 12 and set(user.pictures) == {
        w for w, shown in enumerate(draft.pictures) if shown is not None
    }
    exact = draft.sound[0].astype(int) + draft.sound[2]
    assert np.array_equal(user.samples, np.clip(exact, -32768, 32767))
    assert {text for _, text in user.events} == {"for Bo alone", "for all"}
    assert np.array_equal(user_of(f"{path}:{key}").samples, user_of(f"{path}:{key}", "Ann").samples)
    result = talk(model, user, tmp_path / "out", sampling=SAMPLED)
    assert result.windows == 12
    with pytest.raises(UsageError, match="no speaker 'Cy'; one of Ann, Bo"):
        user_of(f"{path}:{key}", "Cy")
    with pytest.raises(UsageError, match="no clip 'x'"):
        user_of(f"{path}:x")


def test_lateness_queues_up() -> None:
    assert late_windows([199, 200, 201, 199, 10]) == [False, False, True, False, False]
    assert late_windows([500, 100, 10, 10]) == [True, True, True, False]
