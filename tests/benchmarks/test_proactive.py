"""The proactive tasks: what is due is in the shards, scores are what they say, and `tiny` learns them."""

from __future__ import annotations

import importlib
import itertools
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

from corpus.schemas.clock import WINDOW_US
from corpus.shards.read import open_clips
from corpus.trainer.config import DataConfig
from corpus.trainer.data.text import BYTES
from corpus.trainer.data.views import plan_view
from corpus.trainer.overrides import with_overrides
from corpus.trainer.presets import preset

NAMES = ("every", "count", "startstop", "correct", "report")


@pytest.fixture(scope="module")
def tasks() -> ModuleType:
    folder = str(Path(__file__).parents[2] / "benchmarks")
    sys.path.insert(0, folder)
    try:
        return importlib.import_module("proactive")
    finally:
        sys.path.remove(folder)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_due_is_said_in_the_shards(tasks: ModuleType, name: str, tmp_path: Path) -> None:
    data, dues = tasks.made(name, tmp_path, 0, {"train": 3, "validation": 2})
    pairs = [f"data.data={data}", *tasks.SMALL, *tasks.WAY, *tasks.TASKS[name].pairs]
    config = tasks.fitted(with_overrides(preset("tiny"), pairs))
    seen = 0
    for split, count in (("train", 3), ("validation", 2)):
        clips = open_clips(data, split=split)
        assert len(clips) == count
        for place, clip in enumerate(clips):
            view = plan_view(clips, place, 0, config.model, DataConfig())
            due = dues[clip.key]
            speaks = [False, *view.speak_N.tolist()]
            begins = [w for w, now in enumerate(speaks) if now and not (w and speaks[w - 1])]
            assert begins == [at for at, _ in due]
            said = [BYTES.decode(view.written[at - 1]).strip() for at, _ in due]
            assert said == [text for _, text in due]
            assert view.text.left == view.text.before == 0
            # A whole recording fits in one training row: its instruction stays in context to the end.
            assert config.data.whole
            assert split != "train" or 1 + int(view.sizes_N.sum()) <= config.data.length
            seen += len(due)
    assert seen > 10


@pytest.mark.parametrize("name", NAMES)
def test_nothing_held_out_was_trained_on(tasks: ModuleType, name: str) -> None:
    """Read back out of the recordings: words and values of notes, numbers said, pitches, moves."""
    rules, found = tasks.load_rules(), []
    for kinds in (tasks.TRAINED, tasks.HELD_OUT):
        words, values, lengths, pitches_hz = set(), set(), set(), []
        for number in range(60):
            draft = rules.Draft(name=f"apart-{name}-{number}", windows=60)
            due = tasks.TASKS[name].draw(draft, kinds)
            notes = [json.loads(event.payload)["text"].split() for event in draft.events]
            words |= {word for _, word in notes}
            values |= {value for value, _ in notes if value != "!"}
            if name in ("every", "count", "report"):
                values |= {text for _, text in due}
            if name == "startstop":
                moved = [a != b for a, b in itertools.pairwise(draft.pictures)]
                runs = ["".join(run) for _, run in itertools.groupby("xo"[m] for m in moved)]
                lengths |= {len(run) for run in runs[:-1] if run[0] == "o"}
            if name in ("correct", "report"):
                pitches_hz.append(sys.modules["proactive_rules"].pitch(draft, kinds))
        found.append((words, values, lengths, pitches_hz))
    (words, values, lengths, trained_hz), (*new, new_hz) = found
    assert not words & new[0] and not lengths & new[2]
    assert name == "correct" or not values & new[1]
    assert name == "startstop" or (values and new[1])
    assert bool(words) == bool(new[0]) == (name != "startstop")
    assert bool(lengths) == bool(new[2]) == (name == "startstop")
    assert not any(low < hz < high for hz in trained_hz for low, high in tasks.HELD_OUT.pitches_hz)
    assert not any(low < hz < high for hz in new_hz for low, high in tasks.TRAINED.pitches_hz)


def test_only_training_recordings_have_the_easier_form(tasks: ModuleType) -> None:
    """With a home, the square rests in the first corner only, and no movement passes through it."""
    rules, first = tasks.load_rules(), sys.modules["proactive_rules"].square(0)
    at_home = []
    for kinds in (tasks.TRAINED, tasks.HELD_OUT):
        drafts = [rules.Draft(name=f"home-{number}", windows=60) for number in range(60)]
        for draft in drafts:
            tasks.TASKS["startstop"].draw(draft, kinds)
        at_home.append(sum(_has_home(draft.pictures, first) for draft in drafts))
    trained, held_out = at_home
    assert 20 <= trained <= 40 and held_out == 0


def _has_home(pictures: list[bytes], home: bytes) -> bool:
    rests = {now for before, now in itertools.pairwise(pictures) if before == now}
    windows = zip(pictures, pictures[1:], pictures[2:], strict=False)
    passed = {now for before, now, after in windows if before != now != after}
    return rests == {home} and home not in passed


def test_attention_reaches_every_result_until_it_is_reported(tasks: ModuleType) -> None:
    rules = tasks.load_rules()
    reach = with_overrides(preset("tiny"), tasks.TASKS["report"].pairs).model.attention_window_turns
    most = 0
    for number in range(60):
        draft = rules.Draft(name=f"reach-{number}", windows=60)
        due = tasks.TASKS["report"].draw(draft, tasks.TRAINED)
        arrived = [event.start_us // WINDOW_US for event in draft.events]
        # What is due in a window is decided in the micro-turn before it.
        most = max(most, *(at - 1 - came for (at, _), came in zip(due, arrived, strict=False)))
    assert reach is not None and 5 < most < reach


def test_scores_are_one_to_one(tasks: ModuleType) -> None:
    due = [(5, "a"), (6, "b"), (20, "c")]
    score = tasks.scored([(4, "a"), (7, "b"), (20, "x"), (40, "c")], due)
    assert (score.found, score.timed, score.missed, score.stray) == (2, 3, 0, 1)
    assert tasks.scored([], due).missed == 3
    assert tasks.scored([(5, "a")], [(5, "a"), (6, "a")]).missed == 1
    constant, how = tasks.best_constant([[(at, "x") for at in range(3, 60, 7)]])
    assert constant == 1.0 and how == "every 7 from 3"
