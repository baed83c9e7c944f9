"""The speech that each slot's voice is measured from; slots of nearly the same speech are measured once.

Windows begin every second, so what somebody says lies in up to ten of them, mostly with the same edges:

    window 3   |---- ~~~~~~~ ----|
    window 4      |- ~~~~~~~ -------|        the same speech: the vector of window 3
    window 5         |~~~~~~~ --- ~~~~|      more speech: a vector of its own
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
"""Share of the frames in either of two pieces that must be in both for one vector to serve both."""


@dataclass(frozen=True, slots=True)
class Speech:
    """The feature frames of a window in which a slot talks."""

    first: int
    """The window's first frame in the sound's features."""
    mask: BoolArray

    @property
    def frames(self) -> int:
        """In which it talks."""
        return int(np.count_nonzero(self.mask))

    @property
    def stop(self) -> int:
        return self.first + len(self.mask)

    def of(self, frames: Any) -> Any:
        """These of the sound's features."""
        return frames[self.first : self.stop][self.mask]

    def alike(self, other: Speech) -> float:
        """Frames in both as a share of those in either."""
        low, high = max(self.first, other.first), min(self.stop, other.stop)
        if low >= high:
            return 0.0
        own = self.mask[low - self.first : high - self.first]
        both = int(np.count_nonzero(own & other.mask[low - other.first : high - other.first]))
        either = self.frames + other.frames - both
        return both / max(1, either)


def speech_of(slot: Slot, start: int, slots: Slots, frames: int) -> Speech:
    """A slot's speech alone, or all of it if that is too little, in a window that begins at sample `start`.

    `frames` is the number of the sound's feature frames.
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
    """For each piece, in order of its window, the place of the piece whose vector it has: mostly its own.

    The longest are measured first, as they tell most of a voice, and nothing is like a piece that is not
    measured itself, so that speech cannot drift from piece to piece.
    """
    places = list(range(len(speech)))
    measured: list[int] = []
    for place in sorted(places, key=lambda at: (-speech[at].frames, at)):
        best, likest = 0.0, place
        for at in measured:
            if (alike := speech[place].alike(speech[at])) > best:
                best, likest = alike, at
        if best >= SAME_SPEECH:
            places[place] = likest
        else:
            measured.append(place)
    return places
