"""Mel bytes: 256 levels whose upper four bits are the published dMel.

A frame only looks back. Frame f of window k (16 kHz, 8 frames a window):

    ... 3200 k + 400 (f+1) - 800 |=================| 3200 k + 400 (f+1)   the end is the frame's time
                                  50 ms, Hann, n_fft 1024

The Fourier transform uses 64 bits and the sum over the filters 32; a level whose 32-bit value is near a
boundary is recomputed in 64. So a frame's byte does not depend on the clip or batch in which it is computed
(tests/shards/test_mel.py), as it would with 32 bits throughout.

Only numpy: importing torch would cost a worker 460 MB and 2 s, more than the mel of an hour.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from corpus.schemas.clip import MelForm
from corpus.schemas.clock import FRAMES_PER_WINDOW, samples_per_window

BINS = 80
_LOWEST_HZ = 80.0
_HIGHEST_HZ = 7600.0
LOW = -7.3
STEP = 0.0375
_FLOOR = 1e-10
MEL_FORM = MelForm(bins=BINS, low=LOW, step=STEP)

_BLOCK_FRAMES = 100
"""Frames transformed at a time: the block stays in the processor's cache, which is most of the speed."""
_NEAR = 1e-4
"""In levels. Far more than the 32 bit error: all terms of a filter's sum are positive."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MelShape:
    """Sizes derived from the sample rate and the frames per window."""

    window_samples: int
    """Samples under the Hann window: 50 ms."""
    hop_samples: int
    fft_samples: int
    """Zero padded so that bins are 15.625 Hz apart at every rate."""
    frames_per_window: int
    samples_per_window: int

    @property
    def context_samples(self) -> int:
        """Samples needed before a window for its first frame."""
        return self.window_samples - self.hop_samples


def mel_shape(sample_rate_hz: int, frames_per_window: int = FRAMES_PER_WINDOW) -> MelShape:
    per_window = samples_per_window(sample_rate_hz)
    return MelShape(
        window_samples=sample_rate_hz // 20,
        hop_samples=per_window // frames_per_window,
        fft_samples=sample_rate_hz * 8 // 125,
        frames_per_window=frames_per_window,
        samples_per_window=per_window,
    )


def mel_bytes(
    samples: npt.NDArray[np.int16], sample_rate_hz: int, frames_per_window: int = FRAMES_PER_WINDOW
) -> npt.NDArray[np.uint8]:
    """uint8 `[channels, windows, frames, bins]` of int16 `[channels, context + windows * samples]`.

    The first `context_samples` columns are the sound before the first window (zeros before the start of a
    recording). Whole windows only.
    """
    shape = mel_shape(sample_rate_hz, frames_per_window)
    windows, rest = divmod(samples.shape[1] - shape.context_samples, shape.samples_per_window)
    if rest or windows < 0:
        raise ValueError(f"expected {shape.context_samples} + n * {shape.samples_per_window} samples each")
    rows = np.empty((samples.shape[0], windows * frames_per_window, BINS), np.uint8)
    for channel, pcm in enumerate(samples):
        _mel_of_channel(pcm, shape, sample_rate_hz, rows[channel])
    return rows.reshape(samples.shape[0], windows, frames_per_window, BINS)


def _mel_of_channel(
    pcm: npt.NDArray[np.int16], shape: MelShape, sample_rate_hz: int, rows: npt.NDArray[np.uint8]
) -> None:
    tables = _tables(sample_rate_hz, shape.window_samples, shape.fft_samples)
    # The tail stays zero: that is the padding up to the transform's length.
    padded = np.zeros((min(_BLOCK_FRAMES, len(rows)), shape.fft_samples))
    for start in range(0, len(rows), _BLOCK_FRAMES):
        stop = min(start + _BLOCK_FRAMES, len(rows))
        first = start * shape.hop_samples
        last = (stop - 1) * shape.hop_samples + shape.window_samples
        sound = pcm[first:last].astype(np.float64)
        # Views, no copies: frames overlap by more than half.
        frames = sliding_window_view(sound, shape.window_samples)[:: shape.hop_samples]
        buffer = padded[: stop - start]
        np.multiply(frames, tables.hann, out=buffer[:, : shape.window_samples])
        _levels(np.fft.rfft(buffer, axis=1), tables, rows[start:stop])


def _levels(spectrum: npt.NDArray[np.complex128], tables: _Tables, out: npt.NDArray[np.uint8]) -> None:
    """Quantise one block of spectra into `out`, uint8 `[frames, bins]`."""
    used = spectrum[:, tables.first : tables.stop]
    # np.abs of complex numbers would go through hypot, several times slower.
    power = np.square(used.real)
    power += np.square(used.imag)
    magnitude = np.sqrt(power.astype(np.float32))
    level = np.concatenate([magnitude[:, f.low : f.high] @ f.weights32 for f in tables.groups], axis=1)
    np.maximum(level, np.float32(_FLOOR), out=level)
    # From here on in place: the block stays in the processor's cache.
    np.log10(level, out=level)
    level -= np.float32(LOW)
    level *= np.float32(1 / STEP)
    # Below 1 and above 255 no boundary decides anything; silence lies exactly on one, at -72.
    np.clip(level, 0.5, 255.5, out=level)
    np.copyto(out, level, casting="unsafe")  # towards zero, which for these is down
    # The distance from the nearest whole level, where truncation could go either way.
    level -= np.rint(level)
    near = np.abs(level, out=level) < _NEAR
    if near.any():
        _decide_in_64_bits(power, near, tables, out)


def _decide_in_64_bits(
    power: npt.NDArray[np.float64], near: npt.NDArray[np.bool_], tables: _Tables, out: npt.NDArray[np.uint8]
) -> None:
    """Recompute the levels marked in `near`, each by a sum over its own filter alone."""
    frame, mel_bin = near.nonzero()
    total = (np.sqrt(power[frame]) * tables.weights64[mel_bin]).sum(axis=1)
    level = (np.log10(np.maximum(total, _FLOOR)) - LOW) / STEP
    out[frame, mel_bin] = np.clip(np.floor(level), 0, 255)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Filters:
    """Neighbouring filters and the spectrum bins `[low, high)`, from the first used one, that they cover."""

    low: int
    high: int
    weights32: npt.NDArray[np.float32]  # (high - low, filters)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tables:
    hann: npt.NDArray[np.float64]  # (window,) with int16's 1/32768 in it
    first: int
    """All filters lie within the spectrum bins `[first, stop)`."""
    stop: int
    groups: tuple[_Filters, ...]
    weights64: npt.NDArray[np.float64]  # (filters, stop - first)


@cache
def _tables(sample_rate_hz: int, window_samples: int, fft_samples: int) -> _Tables:
    bank = slaney_filters(sample_rate_hz, fft_samples)
    used = np.flatnonzero(bank.any(axis=0))
    first, stop = int(used[0]), int(used[-1]) + 1
    weights = bank[:, first:stop].copy()
    # A filter covers few bins, and neighbours cover nearly the same: five small dense products cost a
    # third of one large one.
    groups = []
    for group in np.split(weights, range(16, BINS, 16)):
        bins = np.flatnonzero(group.any(axis=0))
        low, high = int(bins[0]), int(bins[-1]) + 1
        weights32 = np.ascontiguousarray(group[:, low:high].T, np.float32)
        groups.append(_Filters(low=low, high=high, weights32=weights32))
    # The periodic Hann window, as torch and librosa have it.
    phase = np.arange(window_samples) / window_samples
    hann = (0.5 - 0.5 * np.cos(2 * math.pi * phase)) / 32768
    return _Tables(hann=hann, first=first, stop=stop, groups=tuple(groups), weights64=weights)


def slaney_filters(sample_rate_hz: int, fft_samples: int) -> npt.NDArray[np.float64]:
    """Triangles `[bins, fft_samples // 2 + 1]`, evenly spaced on Slaney's scale, each of area one per Hz."""
    edges = _hz(np.linspace(_mel(_LOWEST_HZ), _mel(_HIGHEST_HZ), BINS + 2))
    bins_hz = np.arange(fft_samples // 2 + 1) * (sample_rate_hz / fft_samples)
    left, middle, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    # Both slopes of each triangle over all bins; outside it one of them is negative.
    rising = (bins_hz - left) / (middle - left)
    falling = (right - bins_hz) / (right - middle)
    return np.maximum(0, np.minimum(rising, falling)) * 2 / (right - left)


# Slaney's scale: 15 mel per 1000 Hz up to there, then 27 mel for each factor of 6.4.
_LINEAR_HZ = 200 / 3
_BREAK_HZ, _BREAK_MEL = 1000.0, 15.0
_LOG_STEP = math.log(6.4) / 27


def _mel(hz: float) -> float:
    if hz < _BREAK_HZ:
        return hz / _LINEAR_HZ
    return _BREAK_MEL + math.log(hz / _BREAK_HZ) / _LOG_STEP


def _hz(mel: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    above = _BREAK_HZ * np.exp(_LOG_STEP * (mel - _BREAK_MEL))
    return np.where(mel < _BREAK_MEL, mel * _LINEAR_HZ, above)
