"""The sound of a decode or voices folder, addressed by the recording's clock."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from corpus.schemas.arrays import Int16Array, UInt8Array
from corpus.schemas.artifacts import Segment, Voices
from corpus.schemas.clock import FRAMES_PER_WINDOW, samples_per_window
from corpus.schemas.errors import FormatError


class Pcm:
    """The files `channel-N.i16` of a folder, addressed by sample on the recording's clock.

    Samples outside the segments read as zeros. Files are read on demand, not mapped: mapped pages count as
    the process's memory, which would grow with the length.
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

    def read(self, channel: int, start: int, stop: int) -> Int16Array:
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


class VoicePcm(Pcm):
    """The channels of the voices: not copies of the decoded sound but parts of it, cut out on demand."""

    def __init__(self, voices: Voices, folder: Path, decode_folder: Path) -> None:
        channels = len(voices.speakers) + 1
        inputs = [source for source in voices.sources if source is not None]
        where, files = {
            "channels": (folder, channels),
            "inputs": (decode_folder, max(inputs, default=-1) + 1),
            "owners": (decode_folder, 1),
        }[voices.form]
        super().__init__(where, files, voices.segments, voices.sample_rate_hz)
        self.channels = channels
        self._voices = voices
        self._owned = Owners.read(folder) if voices.form == "owners" else None

    def read(self, channel: int, start: int, stop: int) -> Int16Array:
        if self._owned is not None:
            return self._owned.part(super().read(0, start, stop), channel, start)
        if self._voices.form == "channels":
            return super().read(channel, start, stop)
        source = self._voices.sources[channel]
        return np.zeros(stop - start, np.int16) if source is None else super().read(source, start, stop)


def read_activity(voices: Voices, folder: Path) -> UInt8Array:
    """The flags of a voices folder: [channels, written windows, frames]; 40 bytes a second for each channel.

    Raises:
        FormatError: the file is cut off, damaged or belongs to another recording.
    """
    path = folder / "activity.npy"
    try:
        table: UInt8Array = np.load(path)
    except (ValueError, EOFError) as error:
        raise FormatError(f"cannot be read: {error}", where=str(path), todo="build again") from error
    windows = sum(segment.windows for segment in voices.segments)
    expected = (len(voices.speakers) + 1, windows, FRAMES_PER_WINDOW)
    if table.shape != expected or table.dtype != np.uint8:
        raise FormatError(f"holds {table.dtype} {table.shape}, not uint8 {expected}", where=str(path))
    return table


_OWNERS_FILE = "owners.npy"


class Owners:
    """Consecutive stretches of samples with one owner each, from sample 0 on; the last never ends."""

    def __init__(self, starts: npt.NDArray[np.int64], channels: npt.NDArray[np.int64]) -> None:
        self.starts = starts
        self.channels = channels

    @classmethod
    def read(cls, folder: Path) -> Owners:
        path = folder / _OWNERS_FILE
        table = np.load(path)
        if table.dtype != np.int64 or table.ndim != 2 or len(table) != 2 or not table.shape[1]:
            raise FormatError(f"is {table.dtype} {table.shape}, not int64 [2, stretches]", where=str(path))
        return cls(table[0], table[1])

    def write(self, folder: Path) -> None:
        np.save(folder / _OWNERS_FILE, np.stack([self.starts, self.channels]))

    def part(self, sound: Int16Array, channel: int, start: int) -> Int16Array:
        """The parts of sound beginning at sample `start` that this channel owns, with silence elsewhere."""
        out = np.zeros_like(sound)
        for low, high, owner in self.within(start, start + len(sound)):
            if owner == channel:
                out[low - start : high - start] = sound[low - start : high - start]
        return out

    def within(self, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
        """(first sample, one past the last, channel) of the stretches' parts in `[start, stop)`.

        Nobody owns anything before sample 0.
        """
        start = max(start, 0)
        place = int(np.searchsorted(self.starts, start, side="right")) - 1
        while start < stop:
            end = int(self.starts[place + 1]) if place + 1 < len(self.starts) else stop
            yield start, min(end, stop), int(self.channels[place])
            start, place = end, place + 1
