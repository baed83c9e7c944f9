"""The speaker slots of overlapping windows, on the 20 ms steps of the decision."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from corpus.align.segmentation import (
    FRAME_MIDDLE_SAMPLES,
    FRAME_SAMPLES,
    FRAMES,
    SLOTS,
    WINDOW_SAMPLES,
    Posteriors,
)
from corpus.schemas.arrays import Float64Array

SEEN_FRAMES = 3
"""A slot that talks in fewer of the network's frames is ignored."""
STEP_SAMPLES = 320
STEPS = WINDOW_SAMPLES // STEP_SAMPLES
"""The number of steps of 20 ms in a window."""

_CENTRES = (np.arange(STEPS) + 0.5) * STEP_SAMPLES
FRAME_OF_STEP = np.clip(np.rint((_CENTRES - FRAME_MIDDLE_SAMPLES) / FRAME_SAMPLES).astype(int), 0, FRAMES - 1)
"""The network's frame nearest to each step's middle."""

Slot = tuple[int, int]
"""(window, slot in it)."""


@dataclass(frozen=True, slots=True)
class Slots:
    """The windows of a stretch at the path's steps."""

    starts: npt.NDArray[np.int64]
    """First step of each window."""
    steps: int
    """Steps in the stretch."""
    active: Float64Array
    """[windows, steps of a window, slots]: the probability that each talks."""
    talking: npt.NDArray[np.bool_]
    """[windows, frames, slots]: whether each talks."""
    alone: npt.NDArray[np.int64]
    """[windows, slots]: frames in which only this slot talks."""

    @classmethod
    def of(cls, found: Posteriors, samples: int) -> Slots:
        talking = found.talking
        single = talking & (talking.sum(axis=-1, keepdims=True) == 1)
        return cls(
            found.starts // STEP_SAMPLES,
            -(-samples // STEP_SAMPLES),
            found.slots[:, FRAME_OF_STEP].astype(np.float64),
            talking,
            single.sum(axis=1),
        )

    def of_window(self, window: int) -> list[Slot]:
        """The window's slots that talk at all."""
        seen = self.talking[window].sum(axis=0) >= SEEN_FRAMES
        return [(window, slot) for slot in range(SLOTS) if seen[slot]]

    def here(self, window: int) -> slice:
        """The window's steps in the stretch."""
        start = int(self.starts[window])
        return slice(start, min(start + STEPS, self.steps))

    def activity(self, slot: Slot) -> Float64Array:
        """The probability that the slot talks, in each step of its window that lies in the stretch."""
        window, number = slot
        here = self.here(window)
        return self.active[window, : here.stop - here.start, number]
