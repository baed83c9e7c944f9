"""Facts of the sound itself: noise, clipping, bandwidth.

SNR        10 log10((P(talk) - P(quiet)) / P(quiet)). P is the mean variance of 25 ms frames: where somebody
           talks, and where nobody does for 100 ms before and after.
clipping   share of samples in runs of 3 or more at 98.5 % of full scale or beyond, or of 4 or more that stay
           within 1e-4 of the peak of one another at 90 % of the peak or beyond.
bandwidth  the highest frequency at which the spectrum, the 95th percentile over frames of 64 ms, comes
           within 60 dB of its maximum and stands out of the rounding to 16 bit.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from corpus.schemas.arrays import BoolArray, Float64Array, Int16Array

_GUARD_FRAMES = 4
"""Quiet begins and ends this far from talk: annotations and networks are not exact to a frame."""
_LEAST_FRAMES = 20
"""Half a second of talk and of quiet; a figure from less is chance."""
_LOWEST_SNR_DB, _HIGHEST_SNR_DB = -20.0, 100.0

_FULL_SCALE = 32768
_AT_THE_LIMIT = 0.985
_LIMIT_RUN = 3
_FLAT_STEP = 1e-4
_FLAT_LEVEL = 0.9
_FLAT_RUN = 4
_QUIETEST_PEAK = 328
"""1 % of full scale; below it a run of equal samples is rounding."""

_SPECTRUM_S = 0.064
_MOST_SPECTRA = 200
_SPECTRUM_PERCENTILE = 95
_WITHIN_DB = 60.0
_ABOVE_ROUNDING_DB = 10.0


def frame_powers(mix: npt.NDArray[np.int32], frame_samples: int) -> Float64Array:
    """Variance of each whole frame; an offset is not sound."""
    frames = mix[: len(mix) // frame_samples * frame_samples].reshape(-1, frame_samples).astype(np.float64)
    # Sums of integers under 2^53 are exact, in whatever order they are added.
    means = frames.sum(axis=1) / frame_samples
    powers: Float64Array = np.einsum("fs,fs->f", frames, frames) / frame_samples - means**2
    return powers


def quiet_frames(talk: BoolArray) -> BoolArray:
    """Frames in which nobody talks, nor a little before and after."""
    near = np.convolve(talk, np.ones(2 * _GUARD_FRAMES + 1), mode="same") if len(talk) else talk
    quiet: BoolArray = near == 0
    return quiet[: len(talk)]


def noise_power(powers: Float64Array, quiet: BoolArray) -> float | None:
    """The mean power of quiet without its loudest tenth (doors, missed words), or None."""
    heard = np.sort(powers[quiet])
    if len(heard) < _LEAST_FRAMES:
        return None
    return float(heard[: len(heard) - len(heard) // 10].mean())


def snr_db(powers: Float64Array, talk: BoolArray, noise: float | None) -> float | None:
    """The SNR of frames in which somebody talks, against this noise power."""
    if noise is None or np.count_nonzero(talk) < _LEAST_FRAMES:
        return None
    signal = float(powers[talk].mean()) - noise
    if noise <= 0:
        return _HIGHEST_SNR_DB if signal > 0 else None
    if signal <= 0:
        return _LOWEST_SNR_DB
    return float(np.clip(10 * np.log10(signal / noise), _LOWEST_SNR_DB, _HIGHEST_SNR_DB))


def clipping_share(samples: Int16Array) -> float:
    """Share of samples that are clipped."""
    if not len(samples):
        return 0.0
    size = np.abs(samples.astype(np.int32))
    peak = int(size.max())
    if peak < _QUIETEST_PEAK:
        return 0.0
    clipped = np.zeros(len(samples), bool)
    if peak >= _AT_THE_LIMIT * _FULL_SCALE:
        clipped = _in_runs(size >= _AT_THE_LIMIT * _FULL_SCALE, _LIMIT_RUN)
    high = size >= _FLAT_LEVEL * peak
    pairs = np.flatnonzero(high[1:] & high[:-1])
    steps = np.abs(samples[pairs + 1].astype(np.int32) - samples[pairs])
    flat = np.zeros(len(samples) - 1, bool)
    flat[pairs[steps <= _FLAT_STEP * peak]] = True
    runs = _in_runs(flat, _FLAT_RUN - 1)
    clipped[1:] |= runs
    clipped[:-1] |= runs
    return float(np.count_nonzero(clipped)) / len(samples)


def _in_runs(mask: BoolArray, least: int) -> BoolArray:
    """The mask where it holds for at least this many in a row."""
    kept = np.zeros(len(mask), bool)
    if not mask.any():
        return kept
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]])))
    for start, stop in edges.reshape(-1, 2):
        if stop - start >= least:
            kept[start:stop] = True
    return kept


def bandwidth_hz(mix: npt.NDArray[np.int32], rate_hz: int) -> float | None:
    """The frequency above which there is nothing; None for digital silence."""
    size = int(_SPECTRUM_S * rate_hz)
    if len(mix) < size or not mix.any():
        return None
    starts = np.arange(0, len(mix) - size + 1, size // 2)
    chosen = starts[np.linspace(0, len(starts) - 1, min(len(starts), _MOST_SPECTRA)).astype(np.int64)]
    window = np.hanning(size + 1)[:size].astype(np.float32)
    frames = mix[chosen[:, None] + np.arange(size)].astype(np.float32)
    frames -= frames.mean(axis=1, keepdims=True)
    powers = np.abs(np.fft.rfft(frames * window, axis=1)) ** 2
    spectrum = np.percentile(powers, _SPECTRUM_PERCENTILE, axis=0)
    rounding = float((window**2).sum()) / 12 * 10 ** (_ABOVE_ROUNDING_DB / 10)
    above = np.flatnonzero(spectrum > max(float(spectrum.max()) * 10 ** (-_WITHIN_DB / 10), rounding))
    return float(above[-1]) * rate_hz / size if len(above) else None
