"""Sound files, clips and events as they are named to `corpus talk`."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest

from corpus.schemas.errors import MediaError, UsageError
from corpus.trainer.session.talk import wave_bytes
from corpus.trainer.session.talk_user import parse_event, read_sound, user_of


def noise(samples: int, channels: int = 1, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-9000, 9000, (samples, channels)).astype(np.int16)


def test_sound_of_other_forms(tmp_path: Path) -> None:
    """Channels are averaged; other rates go through PyAV and keep their length and tone."""
    two = noise(3200, 2)
    (tmp_path / "two.wav").write_bytes(wave_bytes(two))
    assert np.array_equal(read_sound(tmp_path / "two.wav"), two.astype(int).sum(1) // 2)
    time = np.arange(48_000) / 48_000
    tone = (8000 * np.sin(2 * np.pi * 440 * time)).astype("<i2")
    with wave.open(str(tmp_path / "48k.wav"), "wb") as opened:
        opened.setnchannels(1)
        opened.setsampwidth(2)
        opened.setframerate(48_000)
        opened.writeframes(tone.tobytes())
    read = read_sound(tmp_path / "48k.wav")
    assert abs(len(read) - 16_000) <= 32
    peak = np.abs(np.fft.rfft(read[:16_000])).argmax() * 16_000 / len(read[:16_000])
    assert peak == pytest.approx(440, abs=2)
    cut = wave_bytes(two)[:-6401]
    (tmp_path / "cut.wav").write_bytes(cut)
    assert np.array_equal(read_sound(tmp_path / "cut.wav"), two[:1599].astype(int).sum(1) // 2)
    (tmp_path / "no.wav").write_bytes(b"not sound")
    with pytest.raises(MediaError, match="cannot be read as sound"):
        read_sound(tmp_path / "no.wav")
    (tmp_path / "empty.wav").write_bytes(wave_bytes(noise(0)))
    with pytest.raises(MediaError, match=r"empty\.wav: holds no sound"):
        user_of(str(tmp_path / "empty.wav"))


@pytest.mark.parametrize(
    "text", ["12.4", "x:y", ":y", "1:", "-1:x", "nan:x", "inf:x", "1e400:x", "1e9999999:x"]
)
def test_what_is_no_event(text: str) -> None:
    with pytest.raises(UsageError, match="not an event"):
        parse_event(text)


def test_events_fall_into_the_window_of_their_time() -> None:
    assert parse_event("12.4:tool: result") == (62, "tool: result")
    assert parse_event("0.199999: x") == (0, "x")
    assert parse_event("0.6:x") == (3, "x")


def test_neither_a_file_nor_a_clip(tmp_path: Path) -> None:
    for named in ("nothing.wav", f"{tmp_path}/none:key"):
        with pytest.raises(UsageError, match="neither a file nor a clip"):
            user_of(named)
