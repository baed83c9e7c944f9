"""Encoder outputs of a recogniser, kept so that a part of the sound need not be encoded again.

Whisper's encoder costs the same for 3 s as for 30 s. Where talk has no words, the decoder gets it a second
time, alone: that part of the encoder's output is cut out of the window's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from corpus.schemas.arrays import Float32Array
from corpus.schemas.clock import sample_at

RATE_HZ = 16_000
POSITION_SAMPLES = 320
"""The encoder gives a vector per 20 ms; the decoder's timestamps count these from the window's start."""

MOST_OUTSIDE = 3 * RATE_HZ // 10
"""How many samples of the part may lie after the window: a second try has such a margin around the talk."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the encoder's output for a window."""

    states: Float32Array
    """[1, positions, channels]"""
    first: int
    """The position in the window at which it begins."""

    def after(self, positions: int) -> Part:
        """The part without its first positions."""
        return Part(np.ascontiguousarray(self.states[:, positions:]), self.first + positions)


class Encoded:
    """The encoder's outputs for one sound."""

    def __init__(self, sound: Float32Array, zero_us: int) -> None:
        """The sound begins at `zero_us` on the recording's clock."""
        self._sound = sound
        self._zero_us = zero_us
        self._windows: list[tuple[int, int, Float32Array]] = []

    def place(self, sound: Float32Array, zero_us: int) -> int | None:
        """The sample at which a piece of this sound begins, by its time; None if it is another sound."""
        first = sample_at(zero_us, RATE_HZ) - sample_at(self._zero_us, RATE_HZ)
        same = first >= 0 and np.array_equal(self._sound[first : first + len(sound)], sound)
        return first if same else None

    def add(self, first: int, samples: int, states: Float32Array) -> None:
        """Keep a window that begins at sample `first`; `samples` does not count its padding."""
        self._windows.append((first, samples, states))

    def part(self, first: int, samples: int) -> Part | None:
        """The encoder's output for that sound, if one window holds it but for `MOST_OUTSIDE`."""
        for start, length, states in self._windows:
            if start <= first and first + samples <= start + length + MOST_OUTSIDE:
                position = (first - start) // POSITION_SAMPLES
                count = samples // POSITION_SAMPLES + 1
                return Part(np.ascontiguousarray(states[:, position : position + count]), position)
        return None
