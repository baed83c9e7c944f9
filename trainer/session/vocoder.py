"""Turns mel bytes into sound, window by window, so that a model's speech can be played while it speaks.

    bytes -> mel magnitude -> spectrum magnitude (no negative parts) -> phases -> samples

Frames are those of `shards.mel`: 50 ms under a Hann window every 25 ms. A frame's second half is complete
only with the next frame, so sound comes a hop (25 ms) late, and a window's samples begin a hop before it.
The phases of a window are found by the Griffin-Lim iteration with momentum (Perraudin et al. 2013). The last
frame of the previous window is kept fixed, so that the phases agree with it; they start from its phases,
advanced in time. Nothing is trained or random, and samples already returned never change.

Shape suffixes: F frames, M mel bins, K spectrum bins, S samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from corpus.schemas.arrays import Float32Array, Int16Array
from corpus.shards.mel import LOW, STEP, MelShape, mel_shape, slaney_filters

ITERATIONS = 24
MOMENTUM = 0.99
_SPREAD_ITERATIONS = 30
_TINY = np.float32(1e-9)

Spectra = npt.NDArray[np.complex64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Voice:
    """The state from which the next window continues: the last frame given so far."""

    half_S: Float32Array
    """Its second half, windowed twice, to which the next frame is added."""
    turned_K: Spectra
    """Its phases, as complex numbers of size 1."""


def sound_of_window(
    mel_FM: npt.NDArray[np.uint8] | None,
    voice: Voice | None = None,
    *,
    sample_rate_hz: int = 16_000,
    frames_per_window: int = 8,
    iterations: int = ITERATIONS,
) -> tuple[Int16Array, Voice | None]:
    """int16 samples of one window, a hop late, and the state for the next one; None is silence.

    The first silent window after speech still holds the last hop of the speech.
    """
    shape = mel_shape(sample_rate_hz, frames_per_window)
    hop = shape.hop_samples
    if mel_FM is None:
        owed = _finished(voice.half_S, _second(shape)) if voice is not None else np.zeros(hop, np.float32)
        return _samples(np.pad(owed, (0, shape.samples_per_window - hop))), None
    size_FK = spectrum_sizes(mel_FM, sample_rate_hz, shape)
    before_S = np.zeros(hop, np.float32) if voice is None else voice.half_S
    turned_FK: Spectra = _started(len(size_FK), voice, shape)
    earlier_FK = np.zeros_like(turned_FK)
    for _ in range(iterations):
        rebuilt_FK = _analysed(_laid(size_FK * turned_FK, before_S, shape), shape)
        step_FK = rebuilt_FK - np.float32(MOMENTUM / (1 + MOMENTUM)) * earlier_FK
        earlier_FK = rebuilt_FK
        turned_FK = (step_FK / np.maximum(np.abs(step_FK), _TINY)).astype(np.complex64)
    frames_FS = _frames(size_FK * turned_FK, shape)
    laid_S = _added(frames_FS, before_S)
    # The next window needs the last frame's own second half.
    done_S = laid_S[:-hop] / _norm(len(size_FK), shape)[:-hop]
    return _samples(done_S), Voice(half_S=frames_FS[-1, hop:].copy(), turned_K=turned_FK[-1].copy())


def spectrum_sizes(mel_FM: npt.NDArray[np.uint8], sample_rate_hz: int, shape: MelShape) -> Float32Array:
    """(F, K): the non-negative spectrum whose mel is as near as possible to the given one.

    Multiplicative updates from an even spectrum (Lee and Seung), which stay positive.
    """
    bank_MK = _bank(sample_rate_hz, shape.fft_samples)
    mel = np.float32(10.0) ** (LOW + STEP * (mel_FM.astype(np.float32) + 0.5))
    # The lowest byte covers everything down to silence.
    mel = np.where(mel_FM == 0, 0, mel).astype(np.float32)
    wanted_FK = mel @ bank_MK
    size_FK: Float32Array = (wanted_FK / np.maximum(bank_MK.sum(0) ** 2, _TINY)).astype(np.float32)
    for _ in range(_SPREAD_ITERATIONS):
        size_FK *= wanted_FK / np.maximum((size_FK @ bank_MK.T) @ bank_MK, _TINY)
    return size_FK


def _started(frames: int, voice: Voice | None, shape: MelShape) -> Spectra:
    """Initial phases: each bin's middle frequency, advanced by a hop from frame to frame."""
    bins = shape.fft_samples // 2 + 1
    turn_K = np.exp(2j * np.pi * np.arange(bins) * shape.hop_samples / shape.fft_samples)
    first_K = _fixed_phases(bins) if voice is None else voice.turned_K * turn_K
    started_FK: Spectra = (first_K * turn_K ** np.arange(frames)[:, None]).astype(np.complex64)
    return started_FK


@cache
def _fixed_phases(bins: int) -> Spectra:
    """Phases of a voice's first frame, spread like a chirp's, so that it does not begin with a click."""
    phases_K: Spectra = np.exp(1j * np.pi * np.arange(bins) ** 2 / bins).astype(np.complex64)
    return phases_K


@cache
def _hann(samples: int) -> Float32Array:
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(samples) / samples)).astype(np.float32)


@cache
def _bank(sample_rate_hz: int, fft_samples: int) -> Float32Array:
    return slaney_filters(sample_rate_hz, fft_samples).astype(np.float32)


@cache
def _norm(frames: int, shape: MelShape) -> Float32Array:
    """The sum of the windows of the previous frame and of these frames, at each sample of these frames."""
    square_S = _hann(shape.window_samples) ** 2
    before_S = square_S[shape.hop_samples :]
    return np.maximum(_added(np.tile(square_S, (frames, 1)), before_S), np.float32(0.05))


def _second(shape: MelShape) -> Float32Array:
    """The divisor of the hop after the last frame: the windows of that frame and of a silent next one."""
    return _norm(1, shape)[: shape.hop_samples]


def _finished(sum_S: Float32Array, norm_S: Float32Array) -> Float32Array:
    return sum_S / norm_S


def _frames(spectrum_FK: Spectra, shape: MelShape) -> Float32Array:
    """Windowed frames, ready to be added up."""
    frames = np.fft.irfft(spectrum_FK, shape.fft_samples)[:, : shape.window_samples]
    windowed_FS: Float32Array = (frames * _hann(shape.window_samples)).astype(np.float32)
    return windowed_FS


def _laid(spectrum_FK: Spectra, before_S: Float32Array, shape: MelShape) -> Float32Array:
    """The sound whose frames are nearest to these in least squares: the sum of the frames, divided."""
    return _added(_frames(spectrum_FK, shape), before_S) / _norm(len(spectrum_FK), shape)


def _added(frames_FS: Float32Array, before_S: Float32Array) -> Float32Array:
    """The overlap-add of frames by halves, the first one onto the previous frame's second half."""
    hop = len(before_S)
    sound_FS = np.zeros((len(frames_FS) + 1, hop), np.float32)
    sound_FS[0] = before_S
    sound_FS[:-1] += frames_FS[:, :hop]
    sound_FS[1:] += frames_FS[:, hop:]
    return sound_FS.reshape(-1)


def _analysed(sound_S: Float32Array, shape: MelShape) -> Spectra:
    """(F, K) spectra of all whole frames."""
    frames_FS = np.lib.stride_tricks.sliding_window_view(sound_S, shape.window_samples)[:: shape.hop_samples]
    spectrum_FK: Spectra = np.fft.rfft(frames_FS * _hann(shape.window_samples), shape.fft_samples).astype(
        np.complex64
    )
    return spectrum_FK


def _samples(sound_S: Float32Array) -> Int16Array:
    return np.clip(np.rint(sound_S * 32768), -32768, 32767).astype(np.int16)
