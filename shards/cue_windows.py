"""Cues and answers as arrays over a clip's windows, for training: does a cue hold now, may I speak now?"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from corpus.schemas.arrays import BoolArray
from corpus.schemas.clip import ClipHead
from corpus.schemas.conversation import CUE_KINDS

CUE_LABELS = tuple(CUE_KINDS)
"""The order of the labels in `CueWindows`."""


@dataclass(frozen=True, slots=True)
class CueWindows:
    """Two arrays `[windows, labels, speakers + 1]`; the last column holds cues without a speaker."""

    labels: tuple[str, ...]
    speakers: tuple[str, ...]
    """The first columns, in the order of the clip's channels."""
    onset: BoolArray
    """The cue begins in the window."""
    inside: BoolArray
    """The cue shares time with the window; a cue without duration is in the window of its time."""


@dataclass(frozen=True, slots=True)
class AnswerWindows:
    """Two arrays `[windows, speakers + 1]`; the last column is for a speaker who is not recorded."""

    speakers: tuple[str, ...]
    answer: BoolArray
    """An answer by the speaker is timely somewhere in the window."""
    wait: BoolArray
    """The speaker should keep silent somewhere in the window: another pauses and continues."""


def cues_by_window(head: ClipHead, labels: Iterable[str] = CUE_LABELS) -> CueWindows:
    """The clip's cues on its windows, for the given labels, in their order."""
    wanted = tuple(labels)
    rows = {name: row for row, name in enumerate(wanted)}
    columns = _columns(head)
    onset = np.zeros((head.windows, len(wanted), len(head.speakers) + 1), np.bool_)
    inside = np.zeros_like(onset)
    for cue in head.cues:
        row = rows.get(cue.label)
        if row is None:
            continue
        column = columns[cue.speaker]
        first, stop = _windows(head, cue.start_us, cue.stop_us)
        # A cue may begin before the clip or end after it: slicing clips the end, `max` the start.
        inside[max(0, first) : max(0, stop), row, column] = True
        if 0 <= first < head.windows:
            onset[first, row, column] = True
    return CueWindows(wanted, head.speakers, onset, inside)


def answers_by_window(head: ClipHead) -> AnswerWindows:
    """The clip's answers on its windows."""
    columns = _columns(head)
    answer = np.zeros((head.windows, len(head.speakers) + 1), np.bool_)
    wait = np.zeros_like(answer)
    for item in head.answers:
        first, stop = _windows(head, item.start_us, item.stop_us)
        table = answer if item.action == "answer" else wait
        table[max(0, first) : max(0, stop), columns[item.speaker]] = True
    return AnswerWindows(head.speakers, answer, wait)


def _columns(head: ClipHead) -> dict[str | None, int]:
    return {**{name: column for column, name in enumerate(head.speakers)}, None: len(head.speakers)}


def _windows(head: ClipHead, start_us: int, stop_us: int) -> tuple[int, int]:
    """The windows that overlap a span, counted from the clip's first; may reach beyond the clip."""
    first = (start_us - head.start_us) // head.window_us
    stop = -((head.start_us - stop_us) // head.window_us)
    # A cue without duration is in one window.
    return first, max(stop, first + 1)
