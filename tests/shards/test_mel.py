"""Mel bytes against a slow reference, the published dMel, and themselves in other clips and batches."""

from __future__ import annotations

import math
import subprocess
import sys
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from corpus.shards.mel import BINS, mel_bytes, mel_shape, slaney_filters


def speech_like(seconds: float, rate: int = 16000, seed: int = 0) -> np.ndarray:
    """Harmonics that come and go over quiet noise: loud and nearly empty bins side by side."""
    rng = np.random.default_rng(seed)
    t = np.arange(int(seconds * rate)) / rate
    tone = sum(np.sin(2 * np.pi * 140 * k * t * (1 + 0.01 * np.sin(3 * t))) / k**2 for k in range(1, 20))
    sound = 6000 * tone * np.maximum(0, np.sin(2 * np.pi * 1.3 * t)) + rng.standard_normal(len(t)) * 3
    return np.clip(np.round(sound), -32768, 32767).astype(np.int16)


def reference_magnitudes(pcm: np.ndarray, end: int, rate: int) -> np.ndarray:
    """Mel magnitudes of the frame that ends before sample `end`, by the definition, without an FFT."""
    window, fft = rate // 20, {16000: 1024, 24000: 1536}[rate]
    samples = np.array([pcm[n] / 32768 if n >= 0 else 0.0 for n in range(end - window, end)])
    n = np.arange(window)
    weighted = samples * (1 - np.cos(2 * np.pi * n / window)) / 2
    bins = np.arange(fft // 2 + 1)
    spectrum = np.exp(-2j * np.pi * np.outer(bins, n) / fft) @ weighted
    return reference_filters(rate, fft) @ np.abs(spectrum)


def hz_of_slaney(mel: float) -> float:
    return mel * 200 / 3 if mel < 15 else 1000 * 6.4 ** ((mel - 15) / 27)


def reference_filters(rate: int, fft: int) -> np.ndarray:
    def slaney_of_hz(hz: float) -> float:
        return hz * 3 / 200 if hz < 1000 else 15 + 27 * math.log(hz / 1000, 6.4)

    low, high = slaney_of_hz(80), slaney_of_hz(7600)
    edges = [hz_of_slaney(low + (high - low) * i / 81) for i in range(82)]
    filters = np.zeros((80, fft // 2 + 1))
    for i, (left, middle, right) in enumerate(zip(edges, edges[1:], edges[2:], strict=False)):
        for j in range(fft // 2 + 1):
            hz = j * rate / fft
            if left < hz <= middle:
                filters[i, j] = (hz - left) / (middle - left)
            elif middle < hz < right:
                filters[i, j] = (right - hz) / (right - middle)
        filters[i] *= 2 / (right - left)
    return filters


def reference_level(magnitudes: np.ndarray) -> np.ndarray:
    """The level before it is rounded down."""
    return (np.log10(np.maximum(magnitudes, 1e-10)) + 7.3) / 0.0375


@pytest.mark.parametrize("rate", [16000, 24000])
def test_levels_are_the_reference_s(rate: int) -> None:
    pcm = speech_like(2.0, rate)
    shape = mel_shape(rate)
    got = mel_bytes(np.pad(pcm, (shape.context_samples, 0))[None], rate)[0]
    for frame in [*range(4), *range(4, 80, 7)]:
        level = reference_level(reference_magnitudes(pcm, (frame + 1) * rate // 40, rate))
        unsure = np.abs(level - np.round(level)) < 1e-4
        expected = np.clip(np.floor(level), 0, 255).astype(np.uint8)
        wrong = (got[frame // 8, frame % 8] != expected) & ~unsure
        assert not wrong.any(), f"frame {frame}: bins {np.flatnonzero(wrong)}"


def test_filters_are_the_reference_s() -> None:
    np.testing.assert_allclose(slaney_filters(16000, 1024), reference_filters(16000, 1024), atol=1e-12)


def test_upper_four_bits_are_the_published_dmel() -> None:
    """dMel: 16 levels evenly spaced on [-7, 2]; each value takes the nearest."""
    pcm = speech_like(1.0, seed=4)
    got = mel_bytes(np.pad(pcm, (400, 0))[None], 16000)[0].reshape(-1, BINS)
    codebook = np.linspace(-7, 2, 16)
    for frame in range(0, 40, 3):
        log10 = np.log10(np.maximum(reference_magnitudes(pcm, (frame + 1) * 400, 16000), 1e-10))
        distance = np.abs(log10[:, None] - codebook)
        two = np.sort(distance, axis=1)
        sure = two[:, 1] - two[:, 0] > 1e-5
        assert (got[frame] >> 4 == distance.argmin(axis=1))[sure].all()


THREE = np.pad(np.stack([speech_like(4.4, seed=s) for s in range(3)]), ((0, 0), (400, 0)))


@cache
def _whole() -> np.ndarray:
    return mel_bytes(THREE, 16000)


@given(window=st.integers(0, 9), windows=st.integers(1, 12), channels=st.sets(st.integers(0, 2), min_size=1))
@settings(max_examples=60)
def test_a_frame_has_the_same_bytes_in_any_clip(window: int, windows: int, channels: set[int]) -> None:
    whole = _whole()
    rows = sorted(channels)
    part = mel_bytes(THREE[rows, window * 3200 : (window + windows) * 3200 + 400], 16000)
    assert np.array_equal(part, whole[rows, window : window + windows])


def test_many_threads_and_one_give_the_same_bytes() -> None:
    pcm = np.pad(speech_like(30, seed=9), (400, 0))[None]
    with threadpool_limits(1):
        one = mel_bytes(pcm, 16000)
    with threadpool_limits(2):
        assert np.array_equal(mel_bytes(pcm, 16000), one)


@given(window=st.integers(0, 8), seed=st.integers(0, 99))
@settings(max_examples=25)
def test_no_byte_depends_on_what_comes_after_its_window(window: int, seed: int) -> None:
    pcm = speech_like(2.0, seed=1)
    later = pcm.copy()
    cut = (window + 1) * 3200
    later[cut:] = np.random.default_rng(seed).integers(-32768, 32768, len(pcm) - cut)
    one, two = (mel_bytes(np.pad(x, (400, 0))[None], 16000) for x in (pcm, later))
    assert np.array_equal(one[:, : window + 1], two[:, : window + 1])
    assert not np.array_equal(one[:, window + 1], two[:, window + 1])


def test_a_frame_looks_at_its_800_samples_and_no_others() -> None:
    base = np.zeros(3200 * 3, np.int16)
    for frame in (0, 5, 17):
        end = 400 * (frame + 1)
        for sample in (end - 800, end - 799, end - 1, end):
            if sample < 0:
                continue
            # the periodic Hann window is zero on its first sample, so that one is heard by nobody
            heard = end - 800 < sample < end
            pcm = base.copy()
            pcm[sample] = 32767
            got = mel_bytes(np.pad(pcm, (400, 0))[None], 16000)[0].reshape(-1, BINS)
            assert bool(got[frame].any()) is heard, (frame, sample - end)


def test_silence_is_zero_and_full_scale_is_in_range() -> None:
    assert not mel_bytes(np.zeros((2, 400 + 3200), np.int16), 16000).any()
    square = np.where(np.arange(400 + 3200 * 2) % 40 < 20, 32767, -32768).astype(np.int16)[None]
    loud = mel_bytes(square, 16000)
    assert 180 < loud.max() < 255


def test_half_the_hop_gives_every_second_frame_the_same_bytes() -> None:
    pcm = speech_like(1.0, seed=2)
    fine = mel_shape(16000, 16)
    assert (fine.hop_samples, fine.context_samples) == (200, 600)
    twice = mel_bytes(np.pad(pcm, (600, 0))[None], 16000, 16)
    once = mel_bytes(np.pad(pcm, (400, 0))[None], 16000)
    assert np.array_equal(twice[:, :, 1::2], once)


def test_samples_that_are_no_whole_windows_are_refused() -> None:
    with pytest.raises(ValueError, match="400"):
        mel_bytes(np.zeros((1, 3200), np.int16), 16000)


def test_no_windows_give_no_bytes() -> None:
    assert mel_bytes(np.zeros((2, 400), np.int16), 16000).shape == (2, 0, 8, 80)


def test_importing_shards_loads_no_torch() -> None:
    code = (
        "import sys, importlib\n"
        "for name in ('mel','cut','write','read','verify','card','columns'):\n"
        "    importlib.import_module('corpus.shards.' + name)\n"
        "heavy = {'torch', 'av', 'duckdb', 'pyarrow', 'PIL'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
