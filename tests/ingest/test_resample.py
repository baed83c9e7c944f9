"""The resampler: exact in time, the same bits however it is fed, flat where speech is."""

from __future__ import annotations

from fractions import Fraction
from math import ceil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.ingest.resample import Resampler
from corpus.schemas.arrays import Float64Array

RATES = [8_000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000, 192_000, 44_099, 22_255]
ANCHORS = [Fraction(0), Fraction(1, 3000), Fraction(1024, 48_000), -Fraction(3, 7)]


def resampled(
    samples: Float64Array, rate: int, anchor: Fraction, *, out: int = 16_000, steps: list[int] | None = None
) -> tuple[int, Float64Array]:
    """Number of the first output, and the outputs; fed in pieces of `steps` samples in turn."""
    resampler = Resampler(rate, out, 1, anchor, ceil(anchor * out))
    first, at, parts = resampler.next, 0, list[Float64Array]()
    turn = 0
    while at < len(samples):
        step = (steps or [len(samples)])[turn % len(steps or [1])]
        resampler.feed(samples[None, at : at + step])
        parts.append(resampler.pull())
        at, turn = at + step, turn + 1
    stop = ceil((anchor + Fraction(len(samples), rate)) * out)
    parts.append(resampler.pull(stop=stop))
    return first, np.concatenate(parts, axis=1)[0]


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("anchor", ANCHORS)
def test_an_impulse_stays_where_it_was(rate: int, anchor: Fraction) -> None:
    """The centre of a short smooth pulse, before and after, to a hundredth of a sample."""
    n = np.arange(rate)
    centre = rate // 2
    pulse = 0.5 * np.exp(-(((n - centre) / rate * 2000) ** 2))
    first, out = resampled(pulse, rate, anchor)
    weights = np.clip(out, 0, None) * (out > 0.01 * out.max())
    found = (first + float(np.dot(weights, np.arange(len(out))) / weights.sum())) / 16_000
    assert abs(found - (centre / rate + float(anchor))) * 16_000 < 0.01


@pytest.mark.parametrize("rate", RATES)
def test_a_tone_comes_out_as_itself(rate: int) -> None:
    anchor = Fraction(5, 7919)
    times = np.arange(rate) / rate + float(anchor)
    first, out = resampled(0.5 * np.sin(2 * np.pi * 1234 * times), rate, anchor)
    truth = 16384 * np.sin(2 * np.pi * 1234 * (first + np.arange(len(out))) / 16_000)
    error = (out - truth)[2000:-2000]
    assert 10 * np.log10((truth**2).mean() / (error**2).mean()) > 80


def test_what_16_khz_cannot_hold_is_gone_and_speech_is_flat() -> None:
    times = np.arange(48_000) / 48_000
    for hz, low, high in ((7000, -0.1, 0.1), (7200, -0.5, 0.1), (8400, -200, -60), (9000, -200, -80)):
        _, out = resampled(0.5 * np.sin(2 * np.pi * hz * times), 48_000, Fraction(0))
        level = 20 * np.log10(np.abs(out[3000:-3000]).max() / 16384 + 1e-12)
        assert low <= level <= high, hz


@settings(max_examples=40)
@given(
    rate=st.sampled_from([16_000, 44_100, 48_000, 44_099]),
    anchor=st.fractions(min_value=-1, max_value=1, max_denominator=90_000),
    steps=st.lists(st.integers(1, 5000), min_size=1, max_size=5),
    out=st.sampled_from([16_000, 24_000]),
)
def test_the_same_bits_however_it_is_fed(rate: int, anchor: Fraction, steps: list[int], out: int) -> None:
    noise = np.random.default_rng(7).normal(0, 0.2, 6000)
    once = resampled(noise, rate, anchor, out=out)
    pieces = resampled(noise, rate, anchor, out=out, steps=steps)
    assert once[0] == pieces[0]
    if rate == 44_099:
        # Its table has 4096 phases, and where a piece begins decides which of two neighbours is nearer.
        assert np.abs(once[1] - pieces[1]).max() < 30
    else:
        assert np.array_equal(once[1], pieces[1])


@settings(max_examples=30)
@given(st.integers(0, 5000), st.integers(-240, 240).map(lambda ticks: Fraction(ticks, 48_000)))
def test_a_move_changes_only_what_follows(at: int, by: Fraction) -> None:
    noise = np.random.default_rng(8).normal(0, 0.2, 48_000)
    still = resampled(noise, 48_000, Fraction(0))[1]
    moved = Resampler(48_000, 16_000, 1, Fraction(0), 0)
    moved.move(at, by)
    moved.feed(noise[None])
    out = moved.pull(stop=15_000)[0]
    assert np.array_equal(out[:at], still[:at])
    shifted = resampled(noise, 48_000, by)
    overlap = slice(max(at, shifted[0]), 14_000)
    later = shifted[1][overlap.start - shifted[0] : overlap.stop - shifted[0]]
    assert np.abs(out[overlap] - later).max() < 1.0


def test_memory_is_bounded() -> None:
    resampler = Resampler(48_000, 16_000, 1, Fraction(0), 0)
    for _ in range(100):
        resampler.feed(np.zeros((1, 24_000)))
        resampler.pull()
        assert resampler._buffer.shape[1] < 40_000
