"""Mel bytes to sound, by Griffin and Lim: enough to listen to a model, deterministic, nothing to train.

    bytes -> mel magnitude -> spectrum magnitude (no negative parts) -> phases that agree -> samples

Frames are those of `shards.mel`: 50 ms under a Hann window every 25 ms, the first half of the first one
lies before the sound. Phases start as fixed noise and are found with momentum (Perraudin et al. 2013).

Shape suffixes: F frames, M mel bins, K spectrum bins, S samples.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt
import torch

from corpus.shards.mel import LOW, STEP, MelShape, mel_shape, slaney_filters
from corpus.trainer.data import noise

ITERATIONS = 32
MOMENTUM = 0.99
_SPREAD_ITERATIONS = 60
_TINY = 1e-9


def sound_of(
    mel_FM: npt.NDArray[np.uint8],
    *,
    sample_rate_hz: int = 16_000,
    frames_per_window: int = 8,
    iterations: int = ITERATIONS,
) -> npt.NDArray[np.int16]:
    """int16 samples of consecutive frames: `F * hop` of them, from the first frame's hop on."""
    shape = mel_shape(sample_rate_hz, frames_per_window)
    if not len(mel_FM):
        return np.zeros(0, np.int16)
    size_FK = spectrum_sizes(mel_FM, sample_rate_hz, shape)
    element = torch.arange(size_FK.numel()).view(size_FK.shape)
    angle = 2 * torch.pi * noise.uniform(noise.mix(0, element)).double()
    phase_FK = torch.polar(torch.ones_like(angle), angle)
    before = torch.zeros_like(phase_FK)
    for _ in range(iterations):
        rebuilt = _analyse(_synthesise(size_FK * phase_FK, shape), shape)
        step = rebuilt - MOMENTUM / (1 + MOMENTUM) * before
        before = rebuilt
        phase_FK = step / step.abs().clamp_min(_TINY)
    samples = _synthesise(size_FK * phase_FK, shape)[shape.context_samples :]
    return (samples * 32768).round().clamp(-32768, 32767).to(torch.int16).numpy()


def spectrum_sizes(mel_FM: npt.NDArray[np.uint8], sample_rate_hz: int, shape: MelShape) -> torch.Tensor:
    """(F, K): a spectrum without negative parts whose mel is the given one as nearly as can be.

    Multiplicative steps from an even spread (Lee and Seung): they never leave the positive numbers.
    """
    bank = torch.from_numpy(slaney_filters(sample_rate_hz, shape.fft_samples))
    mel = 10.0 ** (LOW + STEP * (torch.from_numpy(mel_FM.astype(np.float64)) + 0.5))
    # The lowest byte is everything down to silence.
    mel = mel.masked_fill(torch.from_numpy(mel_FM == 0), 0.0)
    wanted_FK = mel @ bank
    square = bank.T @ bank
    size_FK = wanted_FK / bank.sum(0).square().clamp_min(_TINY)
    for _ in range(_SPREAD_ITERATIONS):
        size_FK = size_FK * wanted_FK / (size_FK @ square).clamp_min(_TINY)
    return size_FK


@cache
def _hann(samples: int) -> torch.Tensor:
    return torch.hann_window(samples, periodic=True, dtype=torch.float64)


def _analyse(sound_S: torch.Tensor, shape: MelShape) -> torch.Tensor:
    """(F, K) complex spectra of all whole frames."""
    frames = sound_S.unfold(0, shape.window_samples, shape.hop_samples) * _hann(shape.window_samples)
    spectrum_FK: torch.Tensor = torch.fft.rfft(frames, shape.fft_samples)
    return spectrum_FK


def _synthesise(spectrum_FK: torch.Tensor, shape: MelShape) -> torch.Tensor:
    """The sound whose frames are nearest to these, least squares: windowed, added up, divided."""
    hann = _hann(shape.window_samples)
    frames = torch.fft.irfft(spectrum_FK, shape.fft_samples)[:, : shape.window_samples] * hann
    return _added(frames, shape) / _added(hann.square().expand_as(frames), shape).clamp_min(0.05)


def _added(frames_FS: torch.Tensor, shape: MelShape) -> torch.Tensor:
    """Frames laid over each other at the hop."""
    length = (len(frames_FS) - 1) * shape.hop_samples + shape.window_samples
    laid = torch.nn.functional.fold(
        frames_FS.T[None],
        output_size=(1, length),
        kernel_size=(1, shape.window_samples),
        stride=(1, shape.hop_samples),
    )
    return laid.view(-1)
