"""Clock drift between two channels, measured on the copy of one's speaker that the other's microphone picked
up.

The same sound appears in two channels with some lag; if their recorders' clocks differ by 50 parts in a
million, the lag grows by 3 ms a minute. Lags are measured where the one channel talks, and fitted by a line
that tolerates a third of wrong lags.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from corpus.schemas.arrays import Float64Array
from corpus.schemas.clock import sample_at
from corpus.schemas.pcm import Pcm
from corpus.schemas.span import Span

PIECE_US = 4_000_000
"""Sound compared at a time."""
MOST_PIECES = 60
"""Spread over the recording, so that the cost does not grow with its length."""
LEAST_PIECES = 6
LONGEST_LAG_US = 400_000
SHARP = 8.0
"""A lag counts if the correlation's peak is so many standard deviations high."""
NEAR_US = 500.0
"""A lag further from the line than this is a wrong one."""
TOLD_PPM = 5.0
"""A smaller drift is within the error of the measurement."""


@dataclass(frozen=True, slots=True)
class Drift:
    """Of a channel against the one it hears."""

    ppm: float
    lag_us: float
    """At the recording's start."""
    pieces: int
    error_ppm: float
    """Twice the standard error of the line's slope."""


def drift(pcm: Pcm, source: int, target: int, talk: Sequence[Span]) -> Drift | None:
    """How `target`'s clock runs against `source`'s, from the copy of `source`'s `talk` in it; None if no
    copy is clear enough."""
    times: list[float] = []
    lags: list[float] = []
    for start_us in _pieces(talk):
        lag_us = _lag_us(pcm, source, target, start_us)
        if lag_us is not None:
            times.append(start_us + PIECE_US / 2)
            lags.append(lag_us)
    if len(times) < LEAST_PIECES:
        return None
    return _line(np.array(times), np.array(lags))


def _pieces(talk: Sequence[Span]) -> list[int]:
    starts = [
        start for span in talk for start in range(span.start_us, span.stop_us - PIECE_US // 2, PIECE_US)
    ]
    every = max(1, -(-len(starts) // MOST_PIECES))
    return starts[::every]


def _lag_us(pcm: Pcm, source: int, target: int, start_us: int) -> float | None:
    """The delay of the target's copy, by phase correlation, which makes the peak sharp."""
    rate = pcm.sample_rate_hz
    first = sample_at(start_us, rate)
    stop = min(first + sample_at(PIECE_US, rate), pcm.stop_sample)
    reach = sample_at(LONGEST_LAG_US, rate)
    if stop - first < 2 * reach:
        return None
    # Zero padding beyond the longest lag keeps the circular correlation from wrapping.
    size = 1 << int(stop - first + reach).bit_length()
    spectra = [np.fft.rfft(pcm.read(c, first, stop).astype(np.float64), size) for c in (source, target)]
    cross = spectra[1] * spectra[0].conj()
    band = np.arange(len(cross)) * rate / size
    # Speech lies between; hum below and hiss above would only add noise to the phases.
    cross[(band < 200) | (band > 3500)] = 0.0
    magnitude = np.abs(cross)
    if not magnitude.any():
        return None
    correlation = np.fft.irfft(cross / np.maximum(magnitude, 1e-9 * magnitude.max()), size)
    # Negative lags are at the array's end.
    near = np.concatenate([correlation[-reach:], correlation[: reach + 1]])
    peak = int(near.argmax())
    if near[peak] < SHARP * near.std() or not 0 < peak < len(near) - 1:
        return None
    return float((peak + _vertex(near[peak - 1 : peak + 2]) - reach) * 1e6 / rate)


def _vertex(three: Float64Array) -> float:
    """The top of a parabola through three values, relative to the middle one."""
    bend = three[0] - 2 * three[1] + three[2]
    return float(0.5 * (three[0] - three[2]) / bend) if bend < 0 else 0.0


def _line(times: Float64Array, lags: Float64Array) -> Drift | None:
    """Theil and Sen's line, then least squares through the lags near it."""
    first, second = np.triu_indices(len(times), 1)
    far = times[second] - times[first] > 0
    slope = float(np.median((lags[second] - lags[first])[far] / (times[second] - times[first])[far]))
    start = float(np.median(lags - slope * times))
    near = np.abs(lags - start - slope * times) <= NEAR_US
    if near.sum() < max(LEAST_PIECES, 0.5 * len(times)):
        return None
    slope, start = (float(value) for value in np.polyfit(times[near], lags[near], 1))
    rest = lags[near] - start - slope * times[near]
    spread = np.square(times[near] - times[near].mean()).sum()
    error = 2 * float(np.sqrt(np.square(rest).sum() / max(1, near.sum() - 2) / spread)) if spread else np.inf
    return Drift(1e6 * slope, start, int(near.sum()), 1e6 * error)
