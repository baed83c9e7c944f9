"""Reading `channel-N.i16` files by the recording's clock."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from corpus.schemas.artifacts import Segment
from corpus.schemas.clock import samples_per_window
from corpus.schemas.errors import FormatError

Samples = npt.NDArray[np.int16]


class Pcm:
    """The channels of a decode or voices folder, addressed by sample on the recording's clock.

    Samples outside the segments read as zeros. Files are read where asked, not mapped: mapped pages
    count as the process's memory, which would grow with the length.
    """

    def __init__(self, folder: Path, channels: int, segments: Sequence[Segment], sample_rate_hz: int) -> None:
        self.sample_rate_hz = sample_rate_hz
        self.segments = tuple(segments)
        self.channels = channels
        self._window = samples_per_window(sample_rate_hz)
        total = sum(s.windows for s in segments) * self._window
        self._paths = [folder / f"channel-{i}.i16" for i in range(channels)]
        for path in self._paths:
            if path.stat().st_size < 2 * total:
                raise FormatError(f"holds less than the {total} samples of its segments", where=str(path))

    @property
    def stop_sample(self) -> int:
        """One past the last sample of the last segment, on the recording's clock."""
        if not self.segments:
            return 0
        last = self.segments[-1]
        return (last.first_window + last.windows) * self._window

    def read(self, channel: int, start: int, stop: int) -> Samples:
        """int16 samples `[start, stop)` of one channel, shape (stop - start,)."""
        out = np.zeros(stop - start, np.int16)
        at = 0
        for segment in self.segments:
            first = segment.first_window * self._window
            length = segment.windows * self._window
            low, high = max(start, first), min(stop, first + length)
            if low < high:
                out[low - start : high - start] = np.fromfile(
                    self._paths[channel], "<i2", count=high - low, offset=2 * (at + low - first)
                )
            at += length
        return out

    def mix(self, start: int, stop: int) -> npt.NDArray[np.int32]:
        """int32 sum of all channels over `[start, stop)`."""
        total = np.zeros(stop - start, np.int32)
        for channel in range(self.channels):
            total += self.read(channel, start, stop)
        return total

    def blocks(self, samples: int) -> Iterator[tuple[int, int]]:
        """`(start, stop)` on the recording's clock, segment by segment in order, at most `samples` long."""
        for segment in self.segments:
            first = segment.first_window * self._window
            stop = first + segment.windows * self._window
            for start in range(first, stop, samples):
                yield start, min(start + samples, stop)
