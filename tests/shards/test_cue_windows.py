"""Cues and answers on a clip's windows, against asking every window."""

from __future__ import annotations

import random
from typing import Any

import numpy as np

from corpus.schemas.clip import ClipHead, MelForm, Source
from corpus.schemas.conversation import Answer, Cue
from corpus.shards.cue_windows import CUE_LABELS, answers_by_window, cues_by_window

WINDOW_US = 200_000
SPEAKERS: tuple[str | None, ...] = ("B", "A", None)


def head(cues: list[Cue], answers: list[Answer]) -> ClipHead:
    return ClipHead(
        key="k",
        recording="r",
        split="train",
        first_window=10,
        windows=20,
        window_us=WINDOW_US,
        start_us=10 * WINDOW_US,
        stop_us=30 * WINDOW_US,
        sample_rate_hz=16_000,
        frames_per_window=8,
        mel=MelForm(bins=80, low=-7.3, step=0.0375),
        speakers=("B", "A"),
        turns=(),
        words=(),
        cues=tuple(cues),
        answers=tuple(answers),
        events=(),
        labels_made=(),
        separation=None,
        video=None,
        mix_sha256="",
        quality=None,
        source=Source(uri="u", sha256="", licence=None, consent=None),
        config="",
    )


def made_up(seed: int) -> ClipHead:
    numbers = random.Random(seed)

    def span() -> dict[str, Any]:
        start = numbers.randrange(0, 40 * WINDOW_US, 50_000)
        stop = start + numbers.choice([0, 50_000, 200_000, 1_350_000])
        return {"speaker": numbers.choice(SPEAKERS), "start_us": start, "stop_us": stop}

    def cue() -> Cue:
        label = numbers.choice(["yield", "hold", "visual"])
        return Cue(label=label, kind="", confidence=1.0, origin="o", **span())

    def answer() -> Answer:
        action: Any = numbers.choice(["answer", "wait"])
        return Answer(action=action, why="hold/pause", to="c", **span())

    return head([cue() for _ in range(3)], [answer() for _ in range(3)])


def shares(item: Cue | Answer, window: int) -> bool:
    start = (10 + window) * WINDOW_US
    if item.start_us == item.stop_us:
        return start <= item.start_us < start + WINDOW_US
    return item.start_us < start + WINDOW_US and start < item.stop_us


def test_every_window_label_and_speaker_is_as_asked_alone() -> None:
    for seed in range(40):
        clip = made_up(seed)
        cues, answers = cues_by_window(clip), answers_by_window(clip)
        assert cues.labels == CUE_LABELS
        assert cues.onset.shape == cues.inside.shape == (20, len(CUE_LABELS), 3)
        for window, row, column in np.ndindex(cues.inside.shape):
            mine = [c for c in clip.cues if c.label == CUE_LABELS[row] and c.speaker == SPEAKERS[column]]
            assert cues.inside[window, row, column] == any(shares(c, window) for c in mine)
            begins = any(c.start_us // WINDOW_US == 10 + window for c in mine)
            assert cues.onset[window, row, column] == begins
        for window, column in np.ndindex(answers.answer.shape):
            for action, table in (("answer", answers.answer), ("wait", answers.wait)):
                due = [a for a in clip.answers if a.action == action and a.speaker == SPEAKERS[column]]
                assert table[window, column] == any(shares(a, window) for a in due)


def test_only_the_labels_that_are_asked_for() -> None:
    found = cues_by_window(made_up(1), ["hold"])
    assert found.labels == ("hold",) and found.onset.shape == (20, 1, 3)
