"""The sound of one stream: decoded frames on the clock, resampled, as int16 extents in a file."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np
import numpy.typing as npt

from corpus.ingest.clocks import StreamClock, counted
from corpus.ingest.extent import Extent, Moves
from corpus.ingest.resample import Resampler
from corpus.ingest.samples import fit, samples_of
from corpus.ingest.timeline import JITTER, AudioClock, Placement
from corpus.schemas.arrays import Float64Array
from corpus.schemas.clock import round_half_up, samples_per_window

_CANCELLED = 300.0
"""The channels' mean power over that of their mean: 25 dB, where noise of 8 channels has 9 dB."""
_AUDIBLE = 1e-6
"""Power below this (-60 dB of full scale) is no loss."""
_CODEC_FRAME = 4096
"""No codec pads its last frame by more input samples than this."""


class SoundTrack:
    """Takes a stream's frames in order and writes int16 samples of each output channel to files."""

    def __init__(
        self,
        files: Sequence[Path],
        clock: StreamClock,
        *,
        mixed: bool,
        rate_out: int,
        stop: Fraction | None = None,
    ) -> None:
        """`mixed`: one output, the mean of the channels; else one output per channel.

        `stop`: where the stream's presentation ends, on its own clock in seconds, if the container says;
        what fills the codec's last frame up behind it is cut off.
        """
        self._files: list[BinaryIO] = [path.open("wb") for path in files]
        self._mixed = mixed
        self._rate_out = rate_out
        self._zero = clock.zero
        self._stop = stop
        self._restarts = clock.restarts
        self._stream = clock.stream
        self._counted = counted(clock.container)
        self._counted_s: Fraction | None = None
        """Time of the next sample of a stream that is counted, on its own clock."""
        self._latest: int | None = None
        """The stamp of the frame before."""
        self._clock: AudioClock | None = None
        self._before: AudioClock | None = None
        """The clock of the sound that came before, finished."""
        self._resume: Fraction | None = None
        """Where the count continues, on the stream's own clock; None if its next stamp is trusted."""
        self._rate_in = 0
        self._tick = clock.tick
        self._blocks: deque[av.AudioFrame] = deque()
        self._resampler: Resampler | None = None
        self._batch: list[av.AudioFrame] = []
        self._format = ("", 0)
        self._batch_samples = 0
        self._anchor = Fraction(0)
        self._piece_samples = 0
        self.extents: list[Extent] = []
        self.moves = Moves()
        self.first: Fraction | None = None
        self.end = Fraction(0)
        """One past the last sample, on the recording's clock, in seconds."""
        self.before_zero = 0
        """Outputs left out because they lie before the recording's zero."""
        self.saturated_samples = 0
        self.saturated_windows: list[list[int]] = [[] for _ in files]
        self.formats_changed = 0
        self.cancelled_s = 0.0
        """Seconds in which channels of opposite sign leave next to nothing in their mean."""
        self.unfit_s = 0.0
        """Seconds in which the stream has more channels than outputs."""

    def push(self, frame: av.AudioFrame) -> None:
        """Take the next decoded frame."""
        if self._clock is None or frame.sample_rate != self._rate_in:
            self._start_clock(frame.sample_rate)
        assert self._clock is not None
        self._blocks.append(frame)
        # Blocks wait here in the order of the clock's placements, so the two queues always match.
        for placement in self._clock.push(self._stamp(frame), frame.samples):
            self._place(placement)

    def join(self, tick: Fraction, stop: Fraction | None, *, restart: bool) -> None:
        """Another stream continues where this one ended.

        Its first stamp is trusted, to the sample, unless it comes from another clock (`restart`).
        """
        # Everything of the old stream is placed before its clock and filling are judged.
        self._finish_clock()
        self._cut_filling()
        self._tick, self._stop = tick, stop
        if restart:
            # What filled up the codec's last frame does not push the rest away.
            self._resume = self.end + self._zero
            self._restarts.stand(self._stream, self._resume.numerator, self._resume.denominator)
        else:
            self._resume = None

    def lost(self, seconds: Fraction) -> None:
        """This much could not be decoded: in a counted stream everything after it moves later by as much."""
        if self._counted_s is not None:
            self._counted_s += seconds

    def _stamp(self, frame: av.AudioFrame) -> int | None:
        if not self._counted:
            # A stamp that does not advance says nothing: in RealMedia all frames of a block share one.
            repeated = frame.pts == self._latest
            self._latest = frame.pts
            return None if repeated else frame.pts
        if self._counted_s is None:
            self._counted_s = (frame.pts or 0) * self._tick
        stamp = round_half_up(self._counted_s / self._tick)
        self._counted_s += Fraction(frame.samples, frame.sample_rate)
        return stamp

    def finish(self) -> None:
        """Place the rest and close the files."""
        self._finish_clock()
        self.close()
        self._cut_filling()

    def close(self) -> None:
        """Close the files, even if decoding was aborted."""
        for file in self._files:
            file.close()

    def _cut_filling(self) -> None:
        if self._stop is None or not self.extents:
            return
        shift = self._before.shift if self._before is not None else Fraction(0)
        stop = self._stop + shift - self._zero
        # Only what a codec frame can explain: more is sound that the container's duration leaves out.
        excess, last = self.end - stop, self.extents[-1]
        rest = ceil(stop * self._rate_out) - last.start
        if 0 < excess * self._rate_in <= _CODEC_FRAME and 0 < rest <= last.samples:
            self.extents[-1] = Extent(last.start, rest)
            self.end = stop
            for file in self._files:  # what follows must lie where the extents say
                if not file.closed:
                    file.seek(2 * sum(extent.samples for extent in self.extents))
                    file.truncate()

    def _start_clock(self, rate_hz: int) -> None:
        """Start a count; after a change of rate it begins where the old one ended."""
        if self._clock is not None:
            self._finish_clock()
            self._resume = self.end + self._zero
            self.formats_changed += 1
        self._rate_in = rate_hz
        self._clock = AudioClock(
            rate_hz, self._tick, self._restarts, self._stream, self._before, at=self._resume
        )

    def _finish_clock(self) -> None:
        if self._clock is None:
            return
        for placement in self._clock.finish():
            self._place(placement)
        self._end_piece()
        self._before, self._clock = self._clock, None

    def _place(self, placement: Placement) -> None:
        frame = self._blocks.popleft()
        if placement.move != "on" or placement.by or self._resampler is None:
            self._move(placement)
        # Frames of one form are turned into numbers together, half a second at a time.
        form = (frame.format.name, frame.layout.nb_channels)
        if form != self._format:
            self._flush()
            self.formats_changed += self._format[1] not in (0, form[1])
            self._format = form
        self._batch.append(frame)
        self._batch_samples += placement.samples
        self._piece_samples += placement.samples
        # Half a second: long enough for the matrix products to pay, short enough for memory.
        if self._batch_samples * 2 >= self._rate_in:
            self._flush()

    def _move(self, placement: Placement) -> None:
        assert self._clock is not None
        per_second = self._clock.units_per_second
        start = Fraction(placement.start, per_second) - self._zero
        by = Fraction(placement.by, per_second)
        # Behind a hole the filter must not reach back across it; a correction only bends the piece.
        if self._resampler is None or (placement.move in ("hole", "restart") and by > 0):
            self._start_piece(start)
        elif placement.by:
            self._bend(start)
        self._note(placement, start, by)

    def _note(self, placement: Placement, start: Fraction, by: Fraction) -> None:
        moves = self.moves
        if placement.move == "start" and self.first is not None and start - self.end > JITTER:
            moves.hole(self.end, start - self.end)
        self.first = start if self.first is None else self.first
        if placement.move == "restart":
            moves.restarts.append(start)
        if placement.move == "hole" or (placement.move == "restart" and by > 0):
            moves.hole(start - by, by)
        elif by:
            moves.corrections += 1
            moves.corrected += by
            moves.largest_correction = max(moves.largest_correction, by, key=abs)

    def _start_piece(self, anchor: Fraction) -> None:
        self._end_piece()
        self._anchor = anchor
        written = self.extents[-1].start + self.extents[-1].samples if self.extents else None
        first = ceil(anchor * self._rate_out)
        if written is not None and written > first:  # what stands there already is not written over
            first = written
        self._piece_samples = 0
        self._resampler = Resampler(self._rate_in, self._rate_out, len(self._files), anchor, first)

    def _bend(self, start: Fraction) -> None:
        """Continue the piece with another anchor, from the sample fed next, which is at `start`."""
        assert self._resampler is not None
        here = self._anchor + Fraction(self._piece_samples, self._rate_in)
        self._anchor += start - here
        self._resampler.move(ceil(here * self._rate_out), self._anchor)

    def _flush(self) -> None:
        if self._resampler is None or not self._batch:
            return
        samples = samples_of(self._batch)
        self._batch.clear()
        if self._mixed:
            samples = self._mean(samples)
        elif len(samples) != len(self._files):
            if len(samples) > len(self._files):
                self.unfit_s += samples.shape[1] / self._rate_in
            samples = fit(samples, len(self._files))
        self._resampler.feed(samples)
        self._batch_samples = 0
        # Read `next` before pull(), which advances it.
        self._write(self._resampler.next, self._resampler.pull())
        self._piece_end()

    def _mean(self, samples: Float64Array) -> Float64Array:
        """The mean of the channels; time in which they cancel each other is counted."""
        if len(samples) == 1:
            return samples
        mean: Float64Array = samples.mean(axis=0, keepdims=True)
        # Energies by dot product: no temporary arrays, and this runs for all sound.
        power = float(np.vdot(samples, samples)) / len(samples)
        if power > _CANCELLED * float(np.vdot(mean, mean)) and power > _AUDIBLE * samples.shape[1]:
            self.cancelled_s += samples.shape[1] / self._rate_in
        return mean

    def _piece_end(self) -> Fraction:
        end = self._anchor + Fraction(self._piece_samples, self._rate_in)
        self.end = max(self.end, end)
        return end

    def _end_piece(self) -> None:
        if self._resampler is None:
            return
        self._flush()
        end = self._piece_end()
        first = self._resampler.next
        self._write(first, self._resampler.pull(stop=max(first, ceil(end * self._rate_out))))
        self._resampler = None

    def _write(self, first: int, samples: Float64Array) -> None:
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

    def _rounded(self, channel: int, first: int, samples: Float64Array) -> npt.NDArray[np.int16]:
        whole = np.rint(samples)
        if whole.max() > 32767 or whole.min() < -32768:
            beyond = np.flatnonzero((whole > 32767) | (whole < -32768))
            self.saturated_samples += len(beyond)
            windows = np.unique((beyond + first) // samples_per_window(self._rate_out))
            self.saturated_windows[channel] += windows.tolist()
        return np.clip(whole, -32768, 32767).astype("<i2")
