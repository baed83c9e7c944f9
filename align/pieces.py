"""The speech from which each slot's voice is measured; slots with nearly the same speech are measured once.

A window begins every second, so up to ten windows contain the same speech, mostly all of it:

    window 3   |---- ~~~~~~~ ----|
    window 4      |- ~~~~~~~ -------|        the same speech: it shares window 3's vector
    window 5         |~~~~~~~ --- ~~~~|      more speech: it has its own vector
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from corpus.align import campplus
from corpus.align.segmentation import FRAMES, WINDOW_SAMPLES
from corpus.align.slots import Slot, Slots
from corpus.schemas.arrays import BoolArray

HEARD_FRAMES = 15
"""Frames (0.25 s) that a slot must talk for its voice to be measured, in overlap if it talks less alone."""
SAME_SPEECH = 0.7
"""Two pieces share a vector if this share of the frames that are in either is in both."""


@dataclass(frozen=True, slots=True)
class Speech:
    """The feature frames of a window that hold a slot's speech."""

    first: int
    """The window's first frame in the sound's features."""
    mask: BoolArray

    @property
    def frames(self) -> int:
        """How many hold speech."""
        return int(np.count_nonzero(self.mask))

    @property
    def stop(self) -> int:
        return self.first + len(self.mask)

    def of(self, frames: Any) -> Any:
        """Those frames of the sound's features."""
        return frames[self.first : self.stop][self.mask]

    def alike(self, other: Speech) -> float:
        """How many frames are in both, as a share of those in either."""
        low, high = max(self.first, other.first), min(self.stop, other.stop)
        if low >= high:
            return 0.0
        own = self.mask[low - self.first : high - self.first]
        both = int(np.count_nonzero(own & other.mask[low - other.first : high - other.first]))
        either = self.frames + other.frames - both
        return both / max(1, either)


def speech_of(slot: Slot, start: int, slots: Slots, frames: int) -> Speech:
    """A slot's speech without overlap, or all of its speech if that is too little.

    Its window begins at sample `start`; the sound has so many feature `frames`.
    """
    window, number = slot
    talking = slots.talking[window]
    mask = talking[:, number]
    if slots.alone[slot] >= HEARD_FRAMES:
        mask = mask & (talking.sum(axis=-1) == 1)
    first = start // campplus.FRAME_SAMPLES
    inside = max(0, min(frames - first, WINDOW_SAMPLES // campplus.FRAME_SAMPLES - 2))
    # The two networks have different frame rates: for each feature frame the nearest frame of the other.
    nearest = np.minimum(np.arange(inside) * FRAMES // max(1, inside), FRAMES - 1)
    return Speech(first, mask[nearest])


def measured_for(speech: Sequence[Speech]) -> list[int]:
    """For each piece, the place of the piece whose vector it uses; those that are measured use their own.

    Long pieces are measured first, as they tell more of a voice. A piece is compared only with measured ones,
    so that a chain of similar pieces cannot end far from the measured one.
    """
    places = list(range(len(speech)))
    measured: list[int] = []
    for place in sorted(places, key=lambda at: (-speech[at].frames, at)):
        best, closest = 0.0, place
        for at in measured:
            if (alike := speech[place].alike(speech[at])) > best:
                best, closest = alike, at
        if best >= SAME_SPEECH:
            places[place] = closest
        else:
            measured.append(place)
    return places
