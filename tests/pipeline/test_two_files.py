"""A call kept in two files: each microphone hears the other at -20 dB, and one clock is 50 ppm off."""

from __future__ import annotations

import json
import wave
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np
import pytest

from corpus.align.sidecars import read_sidecars
from corpus.pipeline.request import Outcome
from corpus.schemas.settings import SightSettings, TranscribeSettings
from corpus.shards import open_clips
from tests.align.conftest import sample_folder
from tests.pipeline.conftest import NO_MODELS

pytestmark = [pytest.mark.models, pytest.mark.slow]
__all__ = ["sample_folder"]

RATE = 16_000
TIMES = 6
"""The sample call, so often one after the other: three minutes."""
PPM = 50.0
BLEED_DB = -20.0


def drifted(sound: np.ndarray) -> np.ndarray:
    """As a recorder takes it down that counts `PPM` too many, by a long sinc in the frequency domain."""
    # 50 ppm is the shift of one sample in 20000: blocks of that length, each shifted by a fraction
    block, margin = 4000, 2000
    padded = np.concatenate([np.zeros(margin), sound, np.zeros(margin + block)])
    made = []
    for first in range(0, len(sound), block):
        piece = padded[first : first + block + 2 * margin]
        late = (first + block / 2) * PPM * 1e-6
        spectrum = np.fft.rfft(piece)
        spectrum *= np.exp(-2j * np.pi * np.fft.rfftfreq(len(piece)) * late)
        made.append(np.fft.irfft(spectrum, len(piece))[margin : margin + block])
    return np.concatenate(made)[: len(sound)]


def write_wav(path: Path, sound: np.ndarray) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(np.clip(np.rint(sound), -32768, 32767).astype("<i2").tobytes())


@pytest.fixture
def call(sample_folder: Path, tmp_path: Path) -> tuple[Path, dict[str, np.ndarray]]:
    """The manifest, and what each really said."""
    with wave.open(str(sample_folder / "sample.wav")) as file:
        once = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(float)
    turns = read_sidecars([sample_folder / "sample.rttm"], 30_000_000)[0].turns or ()
    names = sorted({turn.speaker for turn in turns})[:2]
    said = {}
    for name in names:
        mask = np.zeros(len(once), bool)
        for turn in turns:
            if turn.speaker == name:
                mask[turn.start_us * RATE // 10**6 : turn.stop_us * RATE // 10**6] = True
        for turn in turns:
            if turn.speaker != name:
                mask[turn.start_us * RATE // 10**6 : turn.stop_us * RATE // 10**6] = False
        said[name] = np.tile(once * mask, TIMES)
    first, second = said.values()
    noise = np.random.default_rng(8).normal(scale=2, size=(2, len(first)))
    gain = 10 ** (BLEED_DB / 20)
    late = int(0.01 * RATE)
    write_wav(tmp_path / "ann.wav", first + gain * np.roll(second, late) + noise[0])
    write_wav(tmp_path / "bob.wav", drifted(second + gain * np.roll(first, late) + noise[1]))
    line = {
        "uri": "call",
        "tracks": [{"uri": "ann.wav", "speaker": "Ann"}, {"uri": "bob.wav", "speaker": "Bob"}],
    }
    (tmp_path / "list.jsonl").write_text(json.dumps(line) + "\n")
    return tmp_path / "list.jsonl", dict(zip(("Ann", "Bob"), (first, second), strict=True))


def lag_samples(found: np.ndarray, truth: np.ndarray) -> float:
    """By how much the truth is late in what was found, by the peak of their correlation."""
    size = 1 << (2 * len(truth)).bit_length()
    spectrum = np.fft.rfft(found, size) * np.fft.rfft(truth, size).conj()
    line = np.fft.irfft(spectrum, size)
    near = np.concatenate([line[-400:], line[:401]])
    place = int(near.argmax())
    before, here, after = near[place - 1 : place + 2]
    return place - 400 + 0.5 * (before - after) / (before - 2 * here + after)


def test_two_files_become_one_clock_and_the_bleed_no_turn(
    call: tuple[Path, dict[str, np.ndarray]], run_build: Callable[..., Outcome], tmp_path: Path
) -> None:
    manifest, truth = call
    settings = replace(
        NO_MODELS,
        diarize=replace(NO_MODELS.diarize, backend="default"),
        transcribe=TranscribeSettings(backend="none"),
        sight=SightSettings(enabled=False),
    )
    done = run_build(manifest, out=tmp_path / "out", settings=settings)
    assert done.exit_code == 0 and done.recordings == 1
    clips = sorted(open_clips(tmp_path / "out"), key=lambda clip: clip.json.first_window)
    assert clips[0].json.speakers == ("Ann", "Bob")
    sound = np.concatenate([clip.audio() for clip in clips], axis=1).astype(float)
    assert not sound[2].any()

    # within 5 millionths: 5 samples in a million, where 50 millionths would be 144 samples at the end
    for name, row in (("Ann", sound[0]), ("Bob", sound[1])):
        for stop_s in (30, 30 * TIMES):
            here = slice((stop_s - 30) * RATE, stop_s * RATE - 3200)
            assert abs(lag_samples(row[here], truth[name][here])) <= 5e-6 * stop_s * RATE + 1, (name, stop_s)
    with duckdb.connect(str(tmp_path / "out" / "catalog.duckdb"), read_only=True) as catalog:
        told = catalog.execute("SELECT detail FROM oddities WHERE code = 'clock_corrected'").fetchall()
    assert len(told) == 1 and "Bob" in told[0][0] and "fast" in told[0][0]
    assert not [drop for drop in done.drops if drop.code == "clock_drift"]

    turns = {turn.id: turn for clip in clips for turn in clip.json.turns}.values()
    assert {turn.speaker for turn in turns} == {"Ann", "Bob"}
    for turn in turns:
        own = truth[turn.speaker][turn.start_us * RATE // 10**6 : turn.stop_us * RATE // 10**6]
        # his own speech, with what the detector adds on both sides
        assert (own != 0).mean() > 0.3, turn
