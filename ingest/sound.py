"""The sound of one stream: decoded frames on the clock, resampled, as int16 extents in a file."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np
import numpy.typing as npt

from corpus.ingest.resample import Floats, Resampler
from corpus.ingest.timeline import AudioClock, Placement, Restarts
from corpus.schemas.clock import samples_per_window

_FULL_SCALE = {"u8": 128.0, "s16": 2.0**15, "s32": 2.0**31, "s64": 2.0**63}
BATCH_S = Fraction(1, 2)
"""Sound is collected for so long before it is resampled: few calls, little memory."""

CODEC_FRAME = 4096
"""No codec fills up by more input samples than this."""


@dataclass(frozen=True, slots=True)
class Extent:
    """Samples that lie one after another in the file and on the clock."""

    start: int
    """Output sample on the recording's clock."""
    samples: int


@dataclass(slots=True)
class Moves:
    """What the clock did to a stream, for the report; units are seconds."""

    corrections: int = 0
    corrected: Fraction = Fraction(0)
    largest_correction: Fraction = Fraction(0)
    holes: list[tuple[Fraction, Fraction]] = field(default_factory=list)
    """(start, length), the first hundred."""
    hole_count: int = 0
    hole_total: Fraction = Fraction(0)
    restarts: list[Fraction] = field(default_factory=list)


def samples_of(frame: av.AudioFrame) -> Floats:
    """(channels, samples), full scale 1."""
    raw = frame.to_ndarray()
    name = frame.format.name
    packed = not name.endswith("p")
    base = name.removesuffix("p")
    channels = frame.layout.nb_channels
    values = raw.reshape(-1, channels).T if packed else raw
    floats = values.astype(np.float64)
    if base == "u8":
        return (floats - 128.0) / 128.0
    if base in _FULL_SCALE:
        return floats / _FULL_SCALE[base]
    # A broken stream may decode to NaN or infinity; such a sample says nothing.
    return np.nan_to_num(floats, copy=False, nan=0.0, posinf=0.0, neginf=0.0)


class SoundTrack:
    """Takes a stream's frames in order; leaves int16 samples of each output channel in files."""

    def __init__(
        self,
        files: Sequence[Path],
        *,
        mixed: bool,
        rate_out: int,
        zero: Fraction,
        stop: Fraction | None,
        restarts: Restarts,
        stream: int,
    ) -> None:
        """`mixed`: one output, the mean of the channels; else one output per channel.

        `zero`: the stream's own time that is the recording's zero, in seconds. `stop`: where its
        presentation ends, on the same clock, if the container says; what fills the codec's last
        frame up behind it is cut off.
        """
        self._files: list[BinaryIO] = [path.open("wb") for path in files]
        self._mixed = mixed
        self._rate_out = rate_out
        self._zero = zero
        self._stop = stop
        self._restarts = restarts
        self._stream = stream
        self._clock: AudioClock | None = None
        self._rate_in = 0
        self._tick = Fraction(1)
        self._blocks: deque[Floats] = deque()
        self._resampler: Resampler | None = None
        self._batch: list[Floats] = []
        self._batch_samples = 0
        self._anchor = Fraction(0)
        self._piece_samples = 0
        self.extents: list[Extent] = []
        self.moves = Moves()
        self.first: Fraction | None = None
        self.end = Fraction(0)
        """One past the last sample, on the recording's clock, in seconds."""
        self.before_zero = 0
        """Outputs that would stand before the recording's zero, left out."""
        self.saturated_samples = 0
        self.saturated_windows: list[list[int]] = [[] for _ in files]
        self.formats_changed = 0

    @property
    def outputs(self) -> int:
        return len(self._files)

    def push(self, frame: av.AudioFrame, tick: Fraction) -> None:
        """Take the next decoded frame; `tick` is its time base."""
        if self._clock is None or frame.sample_rate != self._rate_in or tick != self._tick:
            self._start_clock(frame.sample_rate, tick)
        assert self._clock is not None
        block = samples_of(frame)
        if self._mixed:
            block = block.mean(axis=0, keepdims=True) if len(block) > 1 else block
        elif len(block) != len(self._files):
            block = _fit(block, len(self._files))
            self.formats_changed += 1
        self._blocks.append(block)
        for placement in self._clock.push(frame.pts, frame.samples):
            self._place(placement)

    def finish(self) -> None:
        """Place what is left and close the files."""
        self._finish_clock()
        for file in self._files:
            file.close()
        if self._stop is not None and self.extents:
            self._trim(self._stop - self._zero)

    def _trim(self, stop: Fraction) -> None:
        excess = self.end - stop
        last = self.extents[-1]
        rest = ceil(stop * self._rate_out) - last.start
        if 0 < excess * self._rate_in <= CODEC_FRAME and 0 < rest <= last.samples:
            self.extents[-1] = Extent(last.start, rest)
            self.end = stop

    def _start_clock(self, rate_hz: int, tick: Fraction) -> None:
        """A stream whose rate changes goes on under a new count, anchored at its next stamp."""
        if self._clock is not None:
            self._finish_clock()
            self.formats_changed += 1
        self._rate_in, self._tick = rate_hz, tick
        self._clock = AudioClock(rate_hz, tick, self._restarts, self._stream)

    def _finish_clock(self) -> None:
        if self._clock is None:
            return
        for placement in self._clock.finish():
            self._place(placement)
        self._end_piece()
        self._clock = None

    def _place(self, placement: Placement) -> None:
        assert self._clock is not None
        per_second = self._clock.units_per_second
        start = Fraction(placement.start, per_second) - self._zero
        by = Fraction(placement.by, per_second)
        block = self._blocks.popleft()
        if placement.move == "start" or (placement.move in ("hole", "restart") and by > 0):
            self._start_piece(start)
        elif placement.by:
            self._bend(start)
        self._note(placement, start, by)
        self._batch.append(block)
        self._batch_samples += placement.samples
        self._piece_samples += placement.samples
        if self._batch_samples >= BATCH_S * self._rate_in:
            self._flush()

    def _note(self, placement: Placement, start: Fraction, by: Fraction) -> None:
        moves = self.moves
        self.first = start if self.first is None else self.first
        if placement.move == "restart":
            moves.restarts.append(start)
        if placement.move == "hole" or (placement.move == "restart" and by > 0):
            moves.hole_count += 1
            moves.hole_total += by
            if len(moves.holes) < 100:
                moves.holes.append((start - by, by))
        elif by:
            moves.corrections += 1
            moves.corrected += by
            moves.largest_correction = max(moves.largest_correction, by, key=abs)

    def _start_piece(self, anchor: Fraction) -> None:
        self._end_piece()
        self._anchor = anchor
        written = self.extents[-1].start + self.extents[-1].samples if self.extents else None
        first = ceil(anchor * self._rate_out)
        if written is not None and written > first:
            first = written
        self._piece_samples = 0
        self._resampler = Resampler(self._rate_in, self._rate_out, len(self._files), anchor, first)

    def _bend(self, start: Fraction) -> None:
        """From the sample fed next, which stands at `start`, the piece goes on under another anchor."""
        assert self._resampler is not None
        here = self._anchor + Fraction(self._piece_samples, self._rate_in)
        self._anchor += start - here
        self._resampler.move(ceil(here * self._rate_out), self._anchor)

    def _flush(self) -> None:
        if self._resampler is None or not self._batch:
            return
        self._resampler.feed(np.concatenate(self._batch, axis=1))
        self._batch.clear()
        self._batch_samples = 0
        self._write(self._resampler.next, self._resampler.pull())

    def _end_piece(self) -> None:
        if self._resampler is None:
            return
        self._flush()
        end = self._anchor + Fraction(self._piece_samples, self._rate_in)
        self.end = max(self.end, end)
        first = self._resampler.next
        self._write(first, self._resampler.pull(stop=max(first, ceil(end * self._rate_out))))
        self._resampler = None

    def _write(self, first: int, samples: Floats) -> None:
        if first < 0:
            early = min(-first, samples.shape[1])
            self.before_zero += early
            samples, first = samples[:, early:], first + early
        if not samples.shape[1]:
            return
        for channel, file in enumerate(self._files):
            file.write(self._rounded(channel, first, samples[channel]).tobytes())
        if self.extents and self.extents[-1].start + self.extents[-1].samples == first:
            last = self.extents[-1]
            self.extents[-1] = Extent(last.start, last.samples + samples.shape[1])
        else:
            self.extents.append(Extent(first, samples.shape[1]))

    def _rounded(self, channel: int, first: int, samples: Floats) -> npt.NDArray[np.int16]:
        whole = np.rint(samples)
        if whole.max() > 32767 or whole.min() < -32768:
            beyond = np.flatnonzero((whole > 32767) | (whole < -32768))
            self.saturated_samples += len(beyond)
            windows = np.unique((beyond + first) // samples_per_window(self._rate_out))
            self.saturated_windows[channel] += windows.tolist()
        return np.clip(whole, -32768, 32767).astype("<i2")


def _fit(block: Floats, channels: int) -> Floats:
    """A stream that changes its channels: those it lacks are silent, those too many are left out."""
    fitted = np.zeros((channels, block.shape[1]))
    common = min(channels, len(block))
    fitted[:common] = block[:common]
    return fitted
