"""How much of each frame is covered by spans, and the only definition of when a frame counts as speech."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from corpus.schemas.arrays import Int64Array
from corpus.schemas.span import Span, union


@dataclass(frozen=True, slots=True)
class Cover:
    """Disjoint ordered spans that can tell how much of each frame they cover."""

    starts: Int64Array
    lengths: Int64Array
    before: Int64Array
    """For each span, the time covered by all earlier ones."""

    @classmethod
    def of(cls, spans: Iterable[Span]) -> Cover:
        whole = union(spans)
        starts = np.array([span.start_us for span in whole], np.int64)
        lengths = np.array([span.duration_us for span in whole], np.int64)
        return cls(starts, lengths, np.cumsum(lengths) - lengths)

    def of_frames(self, start_us: int, frames: int, frame_us: int) -> Int64Array:
        """Covered microseconds in each of `frames` frames, the first of which begins at `start_us`."""
        edges = start_us + np.arange(frames + 1, dtype=np.int64) * frame_us
        if not len(self.starts):
            return np.zeros(frames, np.int64)
        place = np.maximum(np.searchsorted(self.starts, edges, side="right") - 1, 0)
        inside = np.clip(edges - self.starts[place], 0, self.lengths[place])
        covered: Int64Array = np.diff(self.before[place] + inside)
        return covered

    def fills_half(self, start_us: int, frames: int, frame_us: int) -> npt.NDArray[np.bool_]:
        """The frames that are at least half covered: speech, if the spans are turns."""
        filled: npt.NDArray[np.bool_] = 2 * self.of_frames(start_us, frames, frame_us) >= frame_us
        return filled
