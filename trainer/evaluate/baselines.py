"""Speakers that understand nothing: the rows that a model must beat. All but the last two are causal.

Flags are per window of the corpus clock, at the window in which the sound would be heard.

    silent    never speaks
    timer     a voice assistant: speaks 700 ms after the other has stopped, for at most 2 s, and stops when
              the other speaks
    copy      does in each window what the person it plays did in the previous one. Running freely, its past
              is its own, and it never begins
    unigram   speaks in each window with a probability equal to the share of windows in which people speak
    shifted   the person it plays, one window late: the score of knowing everything but being late. When
              teacher-forced it is the same as `copy`
    human     the person it plays

Shape suffixes: W windows, F frames a window.
"""

from __future__ import annotations

import hashlib
from typing import Literal

import numpy as np

from corpus.schemas.arrays import BoolArray
from corpus.schemas.clock import FRAME_US

Baseline = Literal["silent", "timer", "copy", "unigram", "shifted", "human"]
BASELINES: tuple[Baseline, ...] = ("silent", "timer", "copy", "unigram", "shifted", "human")

TIMER_FRAMES = 700_000 // FRAME_US
TIMER_WINDOWS = 10


def silent(windows: int) -> BoolArray:
    return np.zeros(windows, bool)


def timer(other_WF: BoolArray) -> BoolArray:
    """Decided at the end of each window, heard in the next one."""
    windows = len(other_WF)
    speaks_W = np.zeros(windows, bool)
    quiet, owed, left = 0, False, 0
    for window in range(windows - 1):
        for talking in other_WF[window]:
            quiet = 0 if talking else quiet + 1
            owed = owed or bool(talking)
        if other_WF[window].any() and quiet < TIMER_FRAMES:
            left = 0
        if owed and quiet >= TIMER_FRAMES:
            owed, left = False, TIMER_WINDOWS
        if left:
            speaks_W[window + 1] = True
            left -= 1
    return speaks_W


def copy(human_W: BoolArray) -> BoolArray:
    return np.concatenate(([False], human_W[:-1]))


def unigram(windows: int, share: float, name: str) -> BoolArray:
    """`name` decides the draws, so they are the same for the same document."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
    return np.random.default_rng(seed).random(windows) < share


def baseline(
    name: Baseline, *, human_W: BoolArray, other_WF: BoolArray, share: float, document: str, told: bool
) -> BoolArray:
    """One row's flags for a document; `told`: teacher-forced."""
    match name:
        case "silent":
            return silent(len(human_W))
        case "timer":
            return timer(other_WF)
        case "copy":
            return copy(human_W) if told else silent(len(human_W))
        case "unigram":
            return unigram(len(human_W), share, document)
        case "shifted":
            return copy(human_W)
        case "human":
            return human_W.copy()
