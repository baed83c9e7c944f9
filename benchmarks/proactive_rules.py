"""The rules of the proactive tasks: each draws a recording and returns what is due in it.

Numbers, words of prompts and pitches of voices come from `Kinds`; `TRAINED` and `HELD_OUT` share none.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from string import ascii_lowercase
from typing import Any
from zlib import crc32

import numpy as np
from PIL import Image

from corpus.schemas.clock import WINDOW_US
from corpus.schemas.conversation import Cue, LabelMade

SIDE, SQUARE = 40, 16
Draft = Any
Due = list[tuple[int, str]]
"""The windows utterances begin in, and their words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kinds:
    """The ingredients of recordings; training and held-out recordings share none of them."""

    new_words: bool
    """Of prompts: a quarter of all words is held out."""
    pitches_hz: tuple[tuple[float, float], ...]
    """Ranges of voices."""
    beats: tuple[str, ...]
    """Numbers of three digits that end in the windows between utterances."""
    counts: tuple[str, ...]
    """Numbers of four digits of base four that do not end in nought."""
    moves: tuple[int, ...]
    """Windows a movement lasts."""
    home: bool
    """Whether in every other recording the square rests in the first corner only: an easier form of the rule,
    in which a single picture tells most of what two do."""
    results: tuple[str, ...]


def _apart(values: Sequence[str], share: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Split values: all but every `share`-th one, and the others."""
    return tuple(v for k, v in enumerate(values) if k % share != share // 2), tuple(
        values[share // 2 :: share]
    )


_COUNTS = _apart([f"{np.base_repr(number, 4):>04}" for number in range(256) if number % 4], 4)
_BEATS = _apart([f"{number}" for number in range(100, 1000) if number % 10 > 2], 8)
_RESULTS = _apart([f"{number:02}" for number in range(100)], 7)
TRAINED = Kinds(
    new_words=False,
    pitches_hz=((100, 145), (170, 230)),
    beats=_BEATS[0],
    counts=_COUNTS[0],
    moves=(3, 4, 6, 7),
    home=True,
    results=_RESULTS[0],
)
HELD_OUT = Kinds(
    new_words=True,
    pitches_hz=((150, 165),),
    beats=_BEATS[1],
    counts=_COUNTS[1],
    moves=(5, 8),
    home=False,
    results=_RESULTS[1],
)


def says(draft: Draft, at: int, text: str) -> None:
    """Bo says a word of at most one window."""
    draft.tone(0, at, 1, 300, 5000)
    draft.speak(0, at * WINDOW_US, (at + 1) * WINDOW_US, text)


def wording(draft: Draft, kinds: Kinds, value: str) -> str:
    """A note: the value, then a meaningless word."""
    while True:
        word = "".join(draft.rng.choice(list(ascii_lowercase), int(draft.rng.integers(1, 5))))
        if (crc32(word.encode()) % 4 == 0) == kinds.new_words:
            return f"{value} {word}"


def pitch(draft: Draft, kinds: Kinds) -> float:
    """The pitch of a voice; held-out pitches lie between the trained ones."""
    low, high = kinds.pitches_hz[int(draft.rng.integers(len(kinds.pitches_hz)))]
    return float(draft.rng.uniform(low, high))


def voice(draft: Draft, at: int, hz: float, formant: float) -> None:
    """One window of a voice in the room: harmonics, strongest near a formant."""
    phase = 2 * np.pi * hz * np.arange(3200) / 16_000
    wave = sum(
        np.exp(-(((k * hz - formant) / 250) ** 2)) * np.sin(k * phase) + 0.1 * np.sin(k * phase)
        for k in range(1, 20)
    )
    draft.sound[-1, at * 3200 :][:3200] += (2500 * np.asarray(wave)).astype(np.int16)


@cache
def square(corner: int) -> bytes:
    """A picture of one patch with a bright square in one of its corners, as a JPEG."""
    pixels = np.full((SIDE, SIDE, 3), 30, np.uint8)
    top, left = (SIDE - SQUARE) * (corner // 2), (SIDE - SQUARE) * (corner % 2)
    pixels[top : top + SQUARE, left : left + SQUARE] = (240, 220, 60)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=90)
    return file.getvalue()


def show(draft: Draft, corners: Sequence[int]) -> None:
    draft.picture_size = (SIDE, SIDE)
    draft.pictures = [square(corner) for corner in corners]
    draft.made = [LabelMade(label="visual", made=True)]


def moved(draft: Draft, start: int, stop: int) -> None:
    """A labeler's mark on a movement, from which `loss.cues` learns, in training only."""
    start_us, stop_us = start * WINDOW_US, min(stop, draft.windows) * WINDOW_US
    if start_us < stop_us:
        cue = Cue(
            label="visual",
            kind="motion_start",
            speaker=None,
            start_us=start_us,
            stop_us=stop_us,
            confidence=1.0,
            origin="generated/1",
        )
        draft.cues.append(cue)


def every(draft: Draft, kinds: Kinds) -> Due:
    rng, number = draft.rng, str(draft.rng.choice(kinds.beats))
    draft.noise(-1, 0, draft.windows, 60)
    draft.note(0, wording(draft, kinds, number))
    n = int(number[-1])
    # Told to stop some windows after a tick, before the next; every other recording ends before.
    ticks = int(rng.integers(1, 2 * draft.windows // n + 1))
    due = [(at, number) for at in range(n, min(n * ticks + 1, draft.windows), n)]
    stop = n * ticks + int(rng.integers(1, n - 1))
    if stop + 1 < draft.windows:
        draft.note(stop, wording(draft, kinds, "!"))
    for at, text in due:
        says(draft, at, text)
    return due


def count(draft: Draft, kinds: Kinds) -> Due:
    rng, due, moves = draft.rng, Due(), 0
    number = str(rng.choice(kinds.counts))
    draft.note(0, wording(draft, kinds, number))
    shown, following = [], int(rng.integers(2, 5))
    for window in range(draft.windows):
        if window == following:
            moves += 1
            following += int(rng.integers(3, 6))
            moved(draft, window, window + 1)
            if moves % 4 == int(number, 4) % 4 and window + 2 < draft.windows:
                due.append((window + 2, number))
        shown.append((0, 1, 3, 2)[moves % 4])
    show(draft, shown)
    for at, text in due:
        says(draft, at, text)
    return due


def startstop(draft: Draft, kinds: Kinds) -> Due:
    rng, due = draft.rng, Due()
    home = kinds.home and rng.random() < 0.5
    place = 0 if home else int(rng.integers(0, 4))
    shown: list[int] = []
    while len(shown) < draft.windows:
        shown += [place] * int(rng.integers(3, 9))
        begins, moves = len(shown), int(rng.choice(kinds.moves))
        shown += _path(rng, place, moves, home=home)
        place = shown[-1]
        moved(draft, begins, begins + moves)
        due += [(begins + 1, "go"), (begins + moves + 1, "end")]
    show(draft, shown[: draft.windows])
    due = [(at, text) for at, text in due if at < draft.windows]
    for at, text in due:
        says(draft, at, text)
    return due


def _path(rng: np.random.Generator, place: int, moves: int, *, home: bool) -> list[int]:
    """A movement from a place, each corner another than the last; with a home it is there at its end only."""
    path: list[int] = []
    for left in reversed(range(moves)):
        others = [corner for corner in range(1 if home else 0, 4) if corner != place]
        place = 0 if home and not left else int(rng.choice(others))
        path.append(place)
    return path


FORMANTS = {"a": 500.0, "b": 1100.0, "c": 1900.0}


def correct(draft: Draft, kinds: Kinds) -> Due:
    rng, due, hz = draft.rng, Due(), pitch(draft, kinds)
    right = str(rng.choice(list(FORMANTS)))
    draft.note(0, wording(draft, kinds, right))
    at = int(rng.integers(1, 4))
    while at + 6 < draft.windows:
        length = int(rng.integers(4, 11))
        wrong = {int(rng.integers(1, length - 1)) for _ in range(int(rng.integers(0, 3)))}
        for k in range(min(length, draft.windows - at)):
            # After a wrong word come right ones, while it is put right.
            off = k in wrong and not wrong & {k - 1, k - 2}
            word = str(rng.choice([name for name in FORMANTS if name != right])) if off else right
            voice(draft, at + k, hz, FORMANTS[word])
            if off and at + k + 1 < draft.windows:
                due.append((at + k + 1, right))
        at += length + int(rng.integers(2, 6))
    for begin, text in due:
        says(draft, begin, text)
    return due


def report(draft: Draft, kinds: Kinds) -> Due:
    rng, due, hz = draft.rng, Due(), pitch(draft, kinds)
    talks = np.zeros(draft.windows, bool)
    at = int(rng.integers(0, 3))
    while at < draft.windows:
        length = int(rng.integers(3, 9))
        talks[at : at + length] = True
        at += length + int(rng.integers(4, 8))
    for window in np.flatnonzero(talks):
        voice(draft, int(window), hz, float(rng.choice(list(FORMANTS.values()))))
    at = int(rng.integers(1, 5))
    while at + 12 < draft.windows:
        result = str(rng.choice(kinds.results))
        draft.note(at, wording(draft, kinds, result))
        quiet = next((w for w in range(at, draft.windows) if not talks[w]), draft.windows)
        if quiet + 1 >= draft.windows:
            break
        due.append((quiet + 1, result))
        at = quiet + int(rng.integers(4, 10))
    for begin, text in due:
        says(draft, begin, text)
    return due
