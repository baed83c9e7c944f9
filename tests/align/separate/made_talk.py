"""A made conversation of two people whose voices share no frequency, so that a filter takes them apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from corpus.schemas.arrays import Float32Array
from corpus.schemas.artifacts import Decoded, Segment
from corpus.schemas.conversation import Turn

RATE = 16_000
WORD = 4000
"""Samples of a word."""
BANDS = {"A": (100, 1400), "B": (3200, 7000)}
TONES = {"A": range(200, 1400, 100), "B": range(3300, 6900, 300)}
"""Each word of a speaker is a tone, in Hz."""
FRAME = 800


def filtered(sound: np.ndarray, low: float, high: float) -> np.ndarray:
    spectrum = np.fft.rfft(sound)
    frequencies = np.fft.rfftfreq(len(sound), 1 / RATE)
    spectrum[(frequencies < low) | (frequencies > high)] = 0
    return np.fft.irfft(spectrum, len(sound))


def speech(speaker: str, first_word: int, words: int) -> np.ndarray:
    """Tones that swell and fade, so that no word clicks."""
    tones = TONES[speaker]
    swell = np.sin(np.pi * (np.arange(WORD) + 0.5) / WORD)
    numbers = range(first_word, first_word + words)
    return np.concatenate(
        [0.15 * swell * np.sin(2 * np.pi * tones[n % len(tones)] * np.arange(WORD) / RATE) for n in numbers]
    )


def words_of(sound: Float32Array) -> list[str]:
    """A recogniser: the words whose tone is most of what is heard, for three frames or more."""
    frames = sound[: len(sound) // FRAME * FRAME].reshape(-1, FRAME)
    power = np.square(np.abs(np.fft.rfft(frames * np.hanning(FRAME), axis=1)))
    hz = RATE / FRAME
    of_tone = {
        f"{name}{tone}": power[:, round(tone / hz) - 2 : round(tone / hz) + 3].sum(axis=1)
        for name, tones in TONES.items()
        for tone in tones
    }
    shares = np.stack(list(of_tone.values())) / np.maximum(power.sum(axis=1), 1.0)
    best = np.where(shares.max(axis=0) > 0.8, shares.argmax(axis=0), -1)
    edges = [0, *(np.flatnonzero(np.diff(best)) + 1).tolist(), len(best)]
    return [
        list(of_tone)[best[start]]
        for start, stop in pairwise(edges)
        if stop - start >= 3 and best[start] >= 0
    ]


@dataclass(frozen=True)
class MadeTalk:
    decoded: Decoded
    folder: Path
    turns: list[Turn]
    truth: dict[str, np.ndarray]
    """Each one's sound as int16 values, floats."""


def made_talk(folder: Path, plan: Sequence[tuple[str, float, int]]) -> MadeTalk:
    """A decode folder with what `plan` says: (speaker, start in seconds, words)."""
    seconds = max(start + words * WORD / RATE for _, start, words in plan) + 1
    windows = int(seconds * 5)
    truth = {name: np.zeros(windows * RATE // 5) for name in BANDS}
    turns: list[Turn] = []
    for number, (speaker, start, words) in enumerate(plan):
        first, stop = int(start * RATE), int(start * RATE) + words * WORD
        truth[speaker][first:stop] += np.rint(32768 * speech(speaker, 7 * number, words))
        turns.append(
            Turn(speaker=speaker, start_us=first * 125 // 2, stop_us=stop * 125 // 2)  # 62.5 us a sample
        )
    mix = truth["A"] + truth["B"]
    folder.mkdir(parents=True)
    mix.astype("<i2").tofile(folder / "channel-0.i16")
    segments = (Segment(first_window=0, windows=windows),)
    decoded = Decoded(
        duration_us=windows * 200_000, sample_rate_hz=RATE, segments=segments, channels=(None,), streams=()
    )
    return MadeTalk(decoded, folder, turns, truth)


LIVELY = (
    *(("A", 0.5, 22), ("B", 5.0, 22), ("A", 9.5, 24), ("B", 12.0, 2)),
    *(("B", 15.0, 24), ("A", 20.5, 20), ("A", 26.0, 12), ("B", 28.0, 20)),
)
"""Overlaps at changes of speaker (1, 1, .5, .5, 1 s) and one inside a turn (.5 s at 12 s)."""
