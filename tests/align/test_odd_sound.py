"""Sound nobody should feed a recogniser: nothing crashes, and words lie where there is sound."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from corpus.align.channels_vad import open_channels_vad
from corpus.align.diarize import open_diarizer
from corpus.align.transcribe import open_transcriber
from corpus.schemas.artifacts import Segment
from corpus.schemas.conversation import Turn
from corpus.schemas.errors import MissingModelError
from corpus.schemas.pcm import Pcm
from corpus.schemas.settings import DiarizeSettings, TranscribeSettings

pytest.importorskip("faster_whisper")
pytestmark = pytest.mark.models


def pcm_of(folder: Path, *channels: np.ndarray, rate_hz: int = 16_000) -> Pcm:
    for number, sound in enumerate(channels):
        sound.astype("<i2").tofile(folder / f"channel-{number}.i16")
    windows = len(channels[0]) // (rate_hz // 5)
    return Pcm(folder, len(channels), [Segment(first_window=0, windows=windows)], rate_hz)


def music(seconds: int) -> np.ndarray:
    """A chord every half second, of plucked tones."""
    at = np.arange(8_000) / 16_000
    chords = [
        sum(np.sin(2 * np.pi * 220 * 2 ** ((step + tone) / 12) * at) for step in (0, 4, 7))
        for tone in (0, 5, 7, 0, 9, 5, 7, 0)
    ]
    plucked = [chord * np.exp(-4 * at) * 3000 for chord in chords]
    return np.concatenate([plucked[half % 8] for half in range(2 * seconds)])


def sounds() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(8)
    return {
        "a window of noise": rng.integers(-2000, 2000, 3200),
        "two seconds of silence": np.zeros(32_000, np.int64),
        "two seconds of noise": rng.integers(-2000, 2000, 32_000),
        "two seconds at full scale": np.where(np.arange(32_000) // 40 % 2, 32767, -32768),
        "twelve seconds of music": music(12),
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", sounds())
def test_short_and_empty_sound_makes_no_words_out_of_nothing(name: str, tmp_path: Path) -> None:
    sound = sounds()[name]
    pcm = pcm_of(tmp_path, sound)
    stop_us = len(sound) * 1_000_000 // 16_000
    try:
        diarizer, transcriber = open_diarizer(DiarizeSettings()), open_transcriber(TranscribeSettings())
    except MissingModelError as error:
        pytest.skip(str(error))
    turns, _ = diarizer(pcm)
    assert all(0 <= turn.start_us < turn.stop_us <= stop_us for turn in turns)
    assert transcriber(pcm, turns, None).words == []
    # whoever claims that somebody talks there gets no time outside the sound
    claimed = [Turn(speaker="A", start_us=0, stop_us=stop_us)]
    for word in transcriber(pcm, claimed, None).words:
        assert word.span is not None and word.span.stop_us <= stop_us


@pytest.mark.parametrize("name", sounds())
def test_channels_of_odd_sound_have_turns_inside_it(name: str, tmp_path: Path) -> None:
    sound = sounds()[name]
    turns, drops = open_channels_vad(DiarizeSettings(), ["A", "B"])(pcm_of(tmp_path, sound, sound // 10))
    stop_us = len(sound) * 1_000_000 // 16_000
    assert all(turn.stop_us <= stop_us for turn in turns)
    assert all(drop.code == "cross_talk" for drop in drops)
