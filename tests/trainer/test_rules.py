"""The generated corpora follow their rules, which the trainer's own tests rely on."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from corpus.shards.read import Clip, open_clips
from corpus.trainer.config import DataConfig
from corpus.trainer.data.text import BYTES
from corpus.trainer.data.views import plan_view
from corpus.trainer.presets import MODELS

MODEL = dataclasses.replace(MODELS["tiny"], picture_rows=2, picture_columns=2)


def sounding(clip: Clip, channel: int) -> list[bool]:
    """Whether anything sounds in each window of a channel."""
    return np.abs(clip.audio()[channel].reshape(-1, 3200)).max(1).astype(bool).tolist()


@pytest.mark.parametrize("rule", ["beep", "count"])
def test_truth_is_what_the_shards_hold(rules: ModuleType, tmp_path: Path, rule: str) -> None:
    corpus = rules.write(tmp_path, rule, {"train": 3, "validation": 1})
    for split, clips in (("train", 3), ("validation", 1)):
        found = open_clips(corpus.path, split=split)
        assert len(found) == clips
        for place, clip in enumerate(found):
            truth = corpus.truths[clip.key]
            view = plan_view(found, place, 0, MODEL, DataConfig())
            assert tuple(view.speak_N) == truth.speaks[1:]
            assert tuple(sounding(clip, 0)) == truth.speaks
            said = BYTES.decode(token for tokens in view.written for token in tokens)
            assert said == f" {truth.text}" * len(truth.answers)
            assert len(truth.answers) > 1 and view.text.left == 0


def test_bo_answers_a_beep_two_windows_later_and_never_over_speech(rules: ModuleType, tmp_path: Path) -> None:
    corpus = rules.write(tmp_path, "beep", {"train": 6})
    kept_silent = 0
    for clip in open_clips(corpus.path):
        truth, room = corpus.truths[clip.key], sounding(clip, 1)
        assert all(room[cue] for cue in truth.cues)
        assert list(truth.answers) == [cue + 2 for cue in truth.cues if not room[cue + 1]]
        assert not any(speaks and heard for speaks, heard in zip(truth.speaks, room, strict=True))
        kept_silent += len(truth.cues) - len(truth.answers)
    assert kept_silent > 3


def test_bo_counts_what_moved(rules: ModuleType, tmp_path: Path) -> None:
    corpus = rules.write(tmp_path, "count", {"train": 4})
    for clip in open_clips(corpus.path):
        truth = corpus.truths[clip.key]
        pictures = [clip.picture(window) for window in range(clip.json.windows)]
        shown = [int(p.reshape(2, 40, 2, 40, 3).mean((1, 3, 4)).argmax()) for p in pictures if p is not None]
        moved = [window for window in range(1, 60) if shown[window] != shown[window - 1]]
        wanted = int(truth.text)
        assert list(truth.cues) == [window for window in moved[wanted - 1 :: 4] if window + 3 < 60]


def test_the_same_call_writes_the_same_bytes(rules: ModuleType, tmp_path: Path) -> None:
    made = [rules.write(tmp_path / name, "talk", {"train": 2}, windows=8).path for name in ("a", "b")]
    one, two = ((path / "manifest.json").read_bytes() for path in made)
    assert one == two
