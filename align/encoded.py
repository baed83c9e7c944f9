"""What a recogniser's encoder made of some sound, kept so that a part of it need not be encoded again.

Whisper's encoder costs the same for 3 s as for 30. Talk in which nothing was written is given to the decoder
again, alone; what the encoder heard there is cut out of what it made of the whole window.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from corpus.schemas.arrays import Float32Array
from corpus.schemas.clock import sample_at

RATE_HZ = 16_000
POSITION_SAMPLES = 320
"""One of the encoder's vectors, 20 ms; the decoder's timestamps count in these from the window's start."""

MOST_OUTSIDE = 3 * RATE_HZ // 10
"""Samples that may lie behind a window: what is given again has such a margin around the talk."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a window as the encoder gave it."""

    states: Float32Array
    """[1, positions, channels]"""
    first: int
    """Its first position in the window."""

    def after(self, positions: int) -> Part:
        """Without so many at its beginning."""
        return Part(np.ascontiguousarray(self.states[:, positions:]), self.first + positions)


class Encoded:
    """The encoder's outputs over one piece of sound."""

    def __init__(self, sound: Float32Array, zero_us: int) -> None:
        """The sound begins at `zero_us` on the recording's clock."""
        self._sound = sound
        self._zero_us = zero_us
        self._windows: list[tuple[int, int, Float32Array]] = []

    def place(self, sound: Float32Array, zero_us: int) -> int | None:
        """The first sample of some of this sound, which is looked for at its time; None for other sound."""
        first = sample_at(zero_us, RATE_HZ) - sample_at(self._zero_us, RATE_HZ)
        same = first >= 0 and np.array_equal(self._sound[first : first + len(sound)], sound)
        return first if same else None

    def add(self, first: int, samples: int, states: Float32Array) -> None:
        """A window from a sample on, of which so many were sound and no padding."""
        self._windows.append((first, samples, states))

    def part(self, first: int, samples: int) -> Part | None:
        """What was made of so much sound from a sample on, if one window has it, but for its last margin."""
        for start, length, states in self._windows:
            if start <= first and first + samples <= start + length + MOST_OUTSIDE:
                position = (first - start) // POSITION_SAMPLES
                count = samples // POSITION_SAMPLES + 1
                return Part(np.ascontiguousarray(states[:, position : position + count]), position)
        return None
