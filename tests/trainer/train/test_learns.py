"""It learns: a few windows by heart, and a rule well enough to be played against."""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from types import ModuleType

import pytest
import torch

from corpus.trainer.config import RunConfig
from corpus.trainer.data.control import Weighting
from corpus.trainer.data.documents import Documents
from corpus.trainer.data.layout import (
    Turns,
    beginning,
    input_block,
    largest_turn,
    sound_slot,
    text_slot,
)
from corpus.trainer.data.sequence import EOW, SIL, SPK
from corpus.trainer.evaluate.calibration import Calibration
from corpus.trainer.evaluate.evaluate import Limits, evaluate_model
from corpus.trainer.model.model import InteractionModel
from corpus.trainer.overrides import with_overrides
from corpus.trainer.presets import preset
from corpus.trainer.session.incremental import Reader
from corpus.trainer.session.sampling import Sampling, decide
from corpus.trainer.train.load_model import load_model
from corpus.trainer.train.loop import train_model


class Player:
    """The model in a conversation of its own: it hears what was recorded and itself, never the truth."""

    def __init__(self, model: InteractionModel, windows: int) -> None:
        self.model, self.config, self.speaking = model, model.config, False
        most = largest_turn(model.config, pictures=True)
        self.cache = Reader.of(model, capacity_positions=1 + most * windows)
        self.last_D = self.cache.read(beginning(self.config))[-1]

    def token(self) -> int:
        return int(self.model.text_logits(self.last_D).argmax())

    def window(self, turn: int, turns: Turns) -> bool:
        block = input_block(
            turn,
            turns.heard_NFM[turn],
            self.config,
            given=turns.given[turn],
            picture_PHWC=turns.pictures[turn],
        )
        self.last_D = self.cache.read(block)[-1]
        logits = self.model.text_logits(self.last_D)
        learnt = float(logits.detach()[[SIL, SPK]].double().softmax(0)[1])
        p = self.model.weighting.undone(learnt, self.speaking)
        self.speaking = decide(p, speaking=self.speaking, sampling=Sampling(), seed=0, turn=turn)
        if not self.speaking:
            self.cache.read(text_slot(turn, 0, SIL, self.config))
            return False
        self.write(turn, SPK, 0)
        slot = 1
        while slot <= self.config.text_slots and (token := self.token()) != EOW:
            self.write(turn, token, slot)
            slot += 1
        if slot > 1:
            self.write(turn, EOW, slot)
        for place in range(self.config.audio_positions):
            frames = self.model.audio_head.sample(self.last_D, seed=turn * 4 + place, temperature=0.0)
            sound = sound_slot(turn, place, frames.numpy(), self.config)
            self.last_D = self.cache.read(sound)[-1]
        return True

    def write(self, turn: int, token: int, slot: int) -> None:
        self.last_D = self.cache.read(text_slot(turn, slot, token, self.config))[-1]


def played(model: InteractionModel, turns: Turns) -> list[bool]:
    """Whether the model speaks in each window of the recording's clock, decided as a session decides."""
    player = Player(model, len(turns))
    decided = [player.window(turn, turns) for turn in range(len(turns))]
    delay = model.config.response_delay
    return [False] * delay + decided


def scored(
    said: list[bool], cues: tuple[int, ...], answers: tuple[int, ...], reach: int = 5
) -> tuple[list[bool], list[int]]:
    """For each cue whether the model did right, and by how many windows each answer missed its time.

    Right is: an answer begun within `reach` windows where one is due, none where none is.
    """
    begins = [w for w, speaks in enumerate(said) if speaks and not (w and said[w - 1])]
    right, errors = [], []
    for cue in cues:
        due = [answer for answer in answers if answer == cue + 2]
        near = [begin for begin in begins if cue < begin <= cue + reach]
        right.append(bool(near) == bool(due))
        if due and near:
            errors.append(abs(near[0] - due[0]))
    return right, errors


@pytest.mark.slow
def test_sixteen_micro_turns_are_learnt_by_heart(rules: ModuleType, tmp_path: Path) -> None:
    made = rules.store(
        tmp_path, [rules.talk("heart", 16, speakers=1, pictures=False)[0]], windows_per_clip=16
    )
    pairs = [f"data.data={made}", "data.rows=1", "data.length=192", "data.pictures=false", "steps=150"]
    pairs += ["log_every=10", "save_every=1000", "optim.lr=5e-3", "optim.weight_decay=0"]
    began = time.process_time()
    result = train_model(with_overrides(preset("tiny"), pairs), tmp_path / "run", talk=print)
    seconds = time.process_time() - began
    assert result.last is not None and result.last.text is not None and result.last.audio is not None
    print(f"text {result.last.text:.4f}, audio {result.last.audio:.4f}, {seconds:.1f} CPU s")
    assert result.last.text < 0.05
    assert result.last.audio < 0.15
    assert seconds < 60


@pytest.mark.slow
def test_a_beep_is_answered_two_windows_later_and_never_over_speech(
    rules: ModuleType, tmp_path: Path
) -> None:
    corpus = rules.write(tmp_path / "data", "beep")
    pairs = [f"data.data={corpus.path}", "data.pictures=false", *BEEP]
    config = with_overrides(preset("tiny"), pairs)
    began = time.process_time()
    train_model(config, tmp_path / "run", talk=print)
    seconds = time.process_time() - began
    model, _ = load_model(tmp_path / "run")
    held_out = Documents(with_overrides(config, ["data.split=validation"]))
    right, errors = [], []
    for document in range(8):
        view = held_out.view(document)
        truth = corpus.truths[view.key]
        said = played(model, held_out.turns(document, 0, len(view)))
        some, more = scored(said, truth.cues, truth.answers)
        right += some
        errors += more
    print(f"right {sum(right) / len(right):.3f} of {len(right)}, {errors=}, {seconds:.0f} CPU s")
    assert sum(right) / len(right) >= 0.95
    assert statistics.median(errors) <= 1
    assert seconds <= 180
    told = calibration(model, config, corpus.path)
    model.weighting = Weighting()
    learnt = calibration(model, config, corpus.path)
    for name in ("ece", "ece_silent"):
        with_weights, undone = getattr(learnt, name).value, getattr(told, name).value
        print(f"{name}: {with_weights:.4f} as trained, {undone:.4f} with the weights undone")
        assert undone < with_weights


def calibration(model: InteractionModel, config: RunConfig, data: Path) -> Calibration:
    """Of held-out clips, told what the person did before."""
    return evaluate_model(model, config, data, limits=Limits(free=0)).calibration


BEEP = ("data.length=256", "data.rows=4", "steps=200", "log_every=50", "save_every=600")


COUNT = (
    "data.length=375",
    "data.rows=12",
    "model.picture_rows=2",
    "model.picture_every=1",
    "model.attention_window_s=none",
    "model.picture_columns=2",
    "model.layers=4",
    "model.frames_per_position=8",
    "optim.lr=4e-3",
    "optim.weight_decay=0.01",
    "steps=350",
    "log_every=50",
    "save_every=5000",
)


@pytest.mark.slow
def test_the_count_is_said_when_the_shape_has_moved_so_often(rules: ModuleType, tmp_path: Path) -> None:
    corpus = rules.write(tmp_path / "data", "count", {"train": 128, "validation": 16})
    config = with_overrides(preset("tiny"), [f"data.data={corpus.path}", *COUNT])
    torch.set_num_threads(2)
    began = time.process_time()
    train_model(config, tmp_path / "run", talk=print)
    seconds = time.process_time() - began
    model, _ = load_model(tmp_path / "run")
    held_out = Documents(with_overrides(config, ["data.split=validation"]))
    found, missed, stray, errors = 0, 0, 0, []
    for document in range(16):
        view = held_out.view(document)
        answers = corpus.truths[view.key].answers
        said = played(model, held_out.turns(document, 0, len(view)))
        begins = [w for w, speaks in enumerate(said) if speaks and not (w and said[w - 1])]
        nearest = [min((abs(b - answer) for b in begins), default=99) for answer in answers]
        errors += [error for error in nearest if error <= 1]
        found += sum(error <= 1 for error in nearest)
        missed += sum(error > 1 for error in nearest)
        stray += sum(all(abs(b - answer) > 1 for answer in answers) for b in begins)
    right = found / (found + missed + stray)
    print(f"right {right:.3f}: {found} found, {missed} missed, {stray} stray, {seconds:.0f} CPU s")
    assert right >= 0.95
    assert statistics.median(errors) <= 1
    assert seconds <= 2 * 600  # on two cores
