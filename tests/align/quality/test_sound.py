"""Facts of sound on signals whose truth is exact: known noise, flat tops of known length, known bands."""

from __future__ import annotations

import numpy as np
import pytest

from corpus.align.quality.sound import (
    bandwidth_hz,
    clipping_share,
    frame_powers,
    noise_power,
    quiet_frames,
    snr_db,
)

RATE = 16_000
FRAME = 400


def noise(seconds: float, rms: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, rms, int(seconds * RATE))


def measured_snr(mix: np.ndarray, talk: np.ndarray) -> float | None:
    powers = frame_powers(np.round(mix).astype(np.int32), FRAME)
    return snr_db(powers, talk, noise_power(powers, quiet_frames(talk)))


@pytest.mark.parametrize("truth_db", [-3.0, 0.0, 5.0, 20.0, 40.0])
def test_snr_of_a_tone_in_noise(truth_db: float) -> None:
    """A sine of amplitude a has power a²/2; talk is every other second."""
    rms = 100.0
    amplitude = rms * np.sqrt(2 * 10 ** (truth_db / 10))
    at = np.arange(20 * RATE)
    talk = (at // RATE) % 2 == 1
    mix = noise(20, rms) + talk * amplitude * np.sin(2 * np.pi * 440 * at / RATE)
    found = measured_snr(mix, talk.reshape(-1, FRAME)[:, 0])
    # 9.5 s of noise tell its power to 0.05 dB; at -3 dB the signal is the difference of near equal powers.
    assert found == pytest.approx(truth_db, abs=0.3)


def test_snr_does_not_hear_an_offset_or_one_door() -> None:
    at = np.arange(20 * RATE)
    talk = (at // RATE) % 2 == 1
    mix = noise(20, 100.0) + talk * 1000 * np.sin(2 * np.pi * 440 * at / RATE) + 5000
    mix[200:1000] += noise(0.05, 8000.0)
    assert measured_snr(mix, talk.reshape(-1, FRAME)[:, 0]) == pytest.approx(10 * np.log10(50), abs=0.3)


def test_snr_is_unknown_without_quiet_or_without_talk() -> None:
    mix = noise(5, 100.0)
    frames = len(mix) // FRAME
    for talk in (np.ones(frames, bool), np.zeros(frames, bool)):
        assert measured_snr(mix, talk) is None
    talk = np.arange(frames) % 8 == 0  # quiet is never further than 100 ms from talk
    assert measured_snr(mix, talk) is None


def test_snr_of_digital_quiet_is_the_highest_and_of_buried_talk_the_lowest() -> None:
    talk = np.arange(200) >= 100
    loud = np.repeat(talk, FRAME) * noise(5, 1000.0)
    assert measured_snr(loud, talk) == 100.0
    assert measured_snr(np.repeat(~talk, FRAME) * noise(5, 1000.0), talk) == -20.0


@pytest.mark.parametrize(
    ("level", "full_scale"), [(0.3, 32767), (0.7, 32767), (0.3, 9000), (0.7, 9000), (0.99, 9000)]
)
def test_clipping_of_a_clipped_sine(level: float, full_scale: int) -> None:
    """A sine cut at a level stands there for 1 - 2 asin(level) / pi of the time."""
    at = np.arange(RATE)
    sine = np.clip(np.sin(2 * np.pi * 50 * at / RATE), -level, level) / level * full_scale
    truth = 1 - 2 * np.arcsin(level) / np.pi
    # two edges, four times a period, are uncertain by a sample or two
    assert clipping_share(np.round(sine).astype(np.int16)) == pytest.approx(truth, abs=4 * 3 * 50 / RATE)


def test_nothing_is_clipped_that_is_not() -> None:
    at = np.arange(RATE)
    tone = np.round(20_000 * np.sin(2 * np.pi * 200 * at / RATE)).astype(np.int16)
    assert clipping_share(tone) == 0.0
    assert clipping_share(noise(2, 3000.0).astype(np.int16)) == 0.0
    assert clipping_share(np.zeros(1000, np.int16)) == clipping_share(np.ones(1000, np.int16)) == 0.0
    assert clipping_share(np.zeros(0, np.int16)) == 0.0


def test_one_stretch_of_flat_tops_is_counted_to_the_sample() -> None:
    sound = noise(1, 2000.0).clip(-20_000, 20_000).astype(np.int16)
    sound[1000:1100] = -32768
    sound[2000:2002] = 32767  # two samples are a peak
    assert clipping_share(sound) == 100 / RATE


LEAK_HZ = 7 * RATE / 1024
"""A Hann window's side lobes fall under 60 dB at the seventh bin: 1 / (pi 7 (49 - 1)) is -60 dB."""


@pytest.mark.parametrize("cut_hz", [1000, 3400, 4000, 7000])
@pytest.mark.parametrize("seed", [1, 2])
def test_bandwidth_of_noise_with_nothing_above(cut_hz: int, seed: int) -> None:
    found = bandwidth_hz(np.round(banded(cut_hz, 2000.0, seed)).astype(np.int32), RATE)
    assert found == pytest.approx(cut_hz, abs=LEAK_HZ)


def banded(cut_hz: float, rms: float, seed: int = 0) -> np.ndarray:
    sound = noise(10, 1.0, seed)
    spectrum = np.fft.rfft(sound)
    spectrum[np.fft.rfftfreq(len(sound), 1 / RATE) > cut_hz] = 0
    cut = np.fft.irfft(spectrum, len(sound))
    return cut * rms / cut.std()


def test_bandwidth_of_quiet_sound_is_not_that_of_its_rounding() -> None:
    assert bandwidth_hz(np.round(banded(3400, 30.0)).astype(np.int32), RATE) == pytest.approx(
        3400, abs=LEAK_HZ
    )


def test_bandwidth_does_not_hear_a_few_clicks() -> None:
    sound = banded(3400, 2000.0)
    sound[:: 2 * RATE] = 30_000
    assert bandwidth_hz(np.round(sound).astype(np.int32), RATE) == pytest.approx(3400, abs=LEAK_HZ)


def test_bandwidth_of_white_noise_is_all_and_of_nothing_unknown() -> None:
    assert bandwidth_hz(noise(2, 1000.0).astype(np.int32), RATE) == pytest.approx(8000, abs=20)
    assert bandwidth_hz(np.zeros(RATE, np.int32), RATE) is None
    assert bandwidth_hz(np.ones(100, np.int32), RATE) is None
