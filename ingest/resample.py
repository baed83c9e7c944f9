"""Resampling with every output sample at its exact time and the same bits on every machine.

Output sample n is at n / rate_out on the recording's clock; the input's first sample can be at any exact
time. A windowed sinc is evaluated at the exact fraction between the two, so there is no filter delay and no
rounding of the anchor to a sample.

Inputs are whole multiples of 2**-24 and filter taps whole multiples of 2**-20, so every sum is a
whole number below 2**53 and exact in float64: the order in which a BLAS adds does not matter, nor
how many threads it has.
"""

from __future__ import annotations

from collections import deque
from fractions import Fraction
from functools import lru_cache
from math import ceil, floor

import numpy as np

from corpus.schemas.arrays import Float64Array

_INPUT_SCALE = 2.0**24
_TAP_SCALE = 2.0**20
_LOUDEST = 16.0
"""Full scale is 1; a decoder's overshoot beyond this is cut, to keep the sums exact."""
_CROSSINGS = 48
"""Zero crossings of the sinc on each side. With beta 9: flat to 7.3 kHz, 90 dB down from 8 kHz at 16 kHz."""
_BETA = 9.0
_PER_CROSSING = 4096
_ROLL_OFF = 0.955
_FINEST = 1 << 16
"""Distinct positions between two input samples: 0.3 ns apart at 48 kHz."""
_TABLE = 4096
"""The same for filters from a table."""
_LONGEST_PERIOD = 640
"""Ratios that repeat only after more outputs than this use the phase table."""


def _quantise(samples: Float64Array) -> Float64Array:
    """Full scale 1.0 as whole multiples of 2**-24, in units of 2**-24."""
    return np.rint(np.clip(samples, -_LOUDEST, _LOUDEST) * _INPUT_SCALE)


@lru_cache(maxsize=1)
def _sinc_table() -> Float64Array:
    """The windowed sinc over its right half, `_PER_CROSSING` points per zero crossing, then zeros."""
    x = np.arange((_CROSSINGS + 1) * _PER_CROSSING + 2) / _PER_CROSSING
    # A Kaiser window: i0 of the half circle over the filter's width.
    inside = np.clip(1 - (x / _CROSSINGS) ** 2, 0, None)
    table: Float64Array = np.sinc(x) * np.i0(_BETA * np.sqrt(inside)) / np.i0(_BETA) * (x < _CROSSINGS)
    return table


def _kernel(distance: Float64Array, cutoff: float) -> Float64Array:
    """Taps at `distance` input samples from the output, in units of 2**-20; cutoff 1 is input Nyquist.

    Straight lines between the table's points: 0.1 of a tap's unit off at most, and a drifting
    stream, which needs new taps at every correction, costs milliseconds for each.
    """
    table = _sinc_table()
    x = np.minimum(np.abs(distance) * (cutoff * _PER_CROSSING), len(table) - 2)
    whole = x.astype(np.int64)
    value = table[whole]
    value += (x - whole) * (table[whole + 1] - value)
    taps: Float64Array = np.rint(cutoff * _TAP_SCALE * value)
    return taps


@lru_cache(maxsize=32)
def _block_filter(phase: int, up: int, down: int, outputs: int) -> tuple[Float64Array, int]:
    """(inputs, outputs) taps where the first output is `phase`/_FINEST past an input; and the reach."""
    # Downwards the filter must also keep out what the lower rate cannot hold.
    cutoff = _ROLL_OFF * min(1.0, up / down)
    reach = ceil(_CROSSINGS / cutoff)
    last = ceil(phase / _FINEST + (outputs - 1) * down / up)
    inputs = np.arange(-reach, last + reach + 1, dtype=np.float64)
    at = phase / _FINEST + np.arange(outputs) * (down / up)
    return np.ascontiguousarray(_kernel(at[None, :] - inputs[:, None], cutoff)), reach


@lru_cache(maxsize=4)
def _phase_table(up: int, down: int) -> tuple[Float64Array, int]:
    """(TABLE, taps): the filter for every fraction; and the reach."""
    cutoff = _ROLL_OFF * min(1.0, up / down)
    reach = ceil(_CROSSINGS / cutoff)
    inputs = np.arange(-reach, reach + 2, dtype=np.float64)
    fractions = np.arange(_TABLE) / _TABLE
    return _kernel(fractions[:, None] - inputs[None, :], cutoff), reach


class Resampler:
    """Resamples one contiguous piece of sound: feed inputs and pull outputs, both in order."""

    def __init__(self, rate_in: int, rate_out: int, channels: int, anchor: Fraction, first: int) -> None:
        """`anchor`: time of the first input sample in seconds; `first`: number of the first output."""
        ratio = Fraction(rate_out, rate_in)
        self._up, self._down = ratio.numerator, ratio.denominator
        self._rate_in, self._rate_out = rate_in, rate_out
        period = self._up
        self._table = period > _LONGEST_PERIOD
        # After `period` outputs the fraction repeats, so a block of whole periods needs one set of taps.
        self._block = period * ceil(160 / period)
        cutoff = _ROLL_OFF * min(1.0, self._up / self._down)
        self._reach = ceil(_CROSSINGS / cutoff)
        self._buffer: Float64Array = np.zeros((channels, 0))
        self._buffer_start = 0
        self._fed = 0
        self._anchor = anchor
        self._moves: deque[tuple[int, Fraction]] = deque()
        self.next = first

    def move(self, output: int, anchor: Fraction) -> None:
        """From output number `output` on, the first input sample is taken to stand at `anchor`."""
        self._moves.append((max(output, self.next), anchor))

    def feed(self, samples: Float64Array) -> None:
        """More input, (channels, samples), full scale 1."""
        fresh = _quantise(samples)
        self._buffer = np.concatenate((self._buffer, fresh), axis=1)
        self._fed += samples.shape[1]

    def pull(self, *, stop: int | None = None) -> Float64Array:
        """The outputs that are determined, up to number `stop`; passing `stop` means the input has ended.

        (channels, outputs), full scale 32768, not rounded.
        """
        # Run to the next move of the anchor, move it, go on: a correction never reaches back.
        parts: list[Float64Array] = []
        while True:
            until = self._known() if stop is None else stop
            moves = self._moves and self._moves[0][0] <= until
            if moves:
                until = self._moves[0][0]
            elif stop is None:
                # Whole blocks only: the fraction of the next output stays the same, and so do the taps.
                until -= (until - self.next) % self._block
            if until > self.next:
                parts.append(self._run(until - self.next))
                self.next = until
            if not moves:
                break
            self._anchor = self._moves.popleft()[1]
        self._forget()
        return np.concatenate(parts, axis=1) if parts else np.zeros((len(self._buffer), 0))

    def _position(self, output: int) -> Fraction:
        """Where output number `output` lies among the inputs."""
        return (Fraction(output, self._rate_out) - self._anchor) * self._rate_in

    def _known(self) -> int:
        """One past the last output all of whose inputs are there."""
        last = Fraction(self._fed - self._reach - 2, self._rate_in) + self._anchor
        return max(self.next, floor(last * self._rate_out))

    def _forget(self) -> None:
        # 60 ms are kept besides the filter's reach: a correction may go back by one jitter or tick.
        keep_from = floor(self._position(self.next)) - self._reach - self._rate_in * 6 // 100
        drop = min(max(0, keep_from - self._buffer_start), self._buffer.shape[1])
        if drop > 0:
            self._buffer = self._buffer[:, drop:]
            self._buffer_start += drop

    def _inputs(self, start: int, stop: int) -> Float64Array:
        """Inputs [start, stop), with zeros for missing ones."""
        low = max(start, self._buffer_start)
        high = min(stop, self._buffer_start + self._buffer.shape[1])
        if low >= high:
            return np.zeros((len(self._buffer), stop - start))
        inner = self._buffer[:, low - self._buffer_start : high - self._buffer_start]
        if low == start and high == stop:
            return inner
        return np.pad(inner, ((0, 0), (low - start, stop - high)))

    def _run(self, outputs: int) -> Float64Array:
        # The next output lies `phase` / _FINEST behind the input number `base`.
        position = self._position(self.next)
        phase = floor((position - floor(position)) * _FINEST + Fraction(1, 2))
        base = floor(position)
        if phase == _FINEST:
            base, phase = base + 1, 0
        # Same rate, on the sample: a copy, bit for bit.
        if self._up == self._down and phase == 0:
            return self._inputs(base, base + outputs) * (32768 / _INPUT_SCALE)
        run = self._run_table if self._table else self._run_blocks
        return run(base, phase, outputs) * (32768 / (_INPUT_SCALE * _TAP_SCALE))

    def _run_blocks(self, base: int, phase: int, outputs: int) -> Float64Array:
        taps, reach = _block_filter(phase, self._up, self._down, self._block)
        # Every block of outputs needs the same taps, moved on by a whole number of inputs.
        step = self._block // self._up * self._down
        blocks = -(-outputs // self._block)
        span = (blocks - 1) * step + len(taps)
        inputs = np.ascontiguousarray(self._inputs(base - reach, base - reach + span))
        # One matrix product for all blocks: rows are the blocks' inputs, columns the outputs of a block.
        windows = np.lib.stride_tricks.sliding_window_view(inputs, len(taps), axis=1)[:, ::step]
        filtered = np.ascontiguousarray(windows).reshape(-1, len(taps)) @ taps
        return filtered.reshape(len(inputs), -1)[:, :outputs]

    def _run_table(self, base: int, phase: int, outputs: int) -> Float64Array:
        table, reach = _phase_table(self._up, self._down)
        # In pieces, because the gathered windows take a hundred times the memory of the outputs.
        parts: list[Float64Array] = []
        for first in range(0, outputs, 4096):
            n = np.arange(first, min(first + 4096, outputs), dtype=np.int64)
            # floor and fraction of phase/_FINEST + n * down/up, in whole numbers
            scaled = n * self._down * _FINEST + phase * self._up
            whole, rest = np.divmod(scaled, self._up * _FINEST)
            fraction = rest * _TABLE // (self._up * _FINEST)
            start = base + int(whole[0]) - reach
            inputs = self._inputs(start, base + int(whole[-1]) + reach + 2)
            windows = np.lib.stride_tricks.sliding_window_view(inputs, 2 * reach + 2, axis=1)
            parts.append(np.einsum("cnt,nt->cn", windows[:, whole - whole[0]], table[fraction]))
        return np.concatenate(parts, axis=1)
