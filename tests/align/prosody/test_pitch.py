"""Pitch and loudness against sound whose melody is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from corpus.align.prosody.listen import AROUND_FRAMES, BLOCK_FRAMES, listen
from corpus.schemas.artifacts import Segment
from corpus.schemas.errors import FormatError
from corpus.schemas.pcm import Pcm
from corpus.schemas.prosody import PITCH_FILE, Tracks, read_prosody, write_prosody

HOP_S = 0.01


def voice(hertz: npt.NDArray[np.float64], rate_hz: int, loud: float = 0.25) -> npt.NDArray[np.int16]:
    """Eight harmonics of a melody."""
    phase = 2 * np.pi * np.cumsum(hertz) / rate_hz
    sound = sum(np.sin(k * phase) / k for k in range(1, 9))
    return np.asarray(np.rint(sound / np.abs(sound).max() * loud * 32767), np.int16)


def heard(folder: Path, sound: npt.NDArray[np.int16], rate_hz: int = 16_000) -> Tracks:
    windows = len(sound) // (rate_hz // 5)
    sound.tofile(folder / "channel-0.i16")
    np.zeros_like(sound).tofile(folder / "channel-1.i16")
    pcm = Pcm(folder, 2, (Segment(first_window=0, windows=windows),), rate_hz)
    return listen(pcm, ("A", "B"))


@pytest.mark.parametrize("rate_hz", [16_000, 24_000])
@pytest.mark.parametrize(("low_hz", "octaves_a_second"), [(90.0, 0.4), (380.0, -0.5), (140.0, 0.0)])
def test_a_glide_is_followed(tmp_path: Path, rate_hz: int, low_hz: float, octaves_a_second: float) -> None:
    time_s = np.arange(rate_hz * 4) / rate_hz
    tracks = heard(tmp_path, voice(low_hz * 2 ** (octaves_a_second * time_s), rate_hz), rate_hz)
    middle_s = (np.arange(tracks.head.frames) + 0.5) * HOP_S
    true_cents = 1200 * np.log2(low_hz * 2 ** (octaves_a_second * middle_s) / 50)
    inner = slice(4, -4)
    assert (tracks.pitch[0][inner] > 0).all()
    assert np.abs(tracks.pitch[0] - true_cents)[inner].max() <= 20
    assert not tracks.pitch[1].any() and not tracks.level[1].any()


def test_torchaudios_tracker_hears_the_same_melody(tmp_path: Path) -> None:
    import torch
    from torchaudio.functional import detect_pitch_frequency

    sound = voice(150 + 40 * np.sin(2 * np.pi * np.arange(48_000) / 32_000), 16_000)
    ours = 50 * 2 ** (heard(tmp_path, sound).pitch[0] / 1200)
    theirs = detect_pitch_frequency(torch.from_numpy(sound / 32768.0).float()[None], 16_000, 0.01)[0].numpy()
    # It smooths over 30 frames and knows whole lags only: near, not equal.
    length = min(len(ours), len(theirs)) - 40
    assert np.median(np.abs(12 * np.log2(ours[20:length] / theirs[20:length]))) < 1


def test_noise_and_silence_have_no_pitch(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(0, 2000, 48_000).astype(np.int16)
    noise[16_000:32_000] = 0
    tracks = heard(tmp_path, noise)
    assert (tracks.pitch[0] > 0).mean() < 0.02
    assert not tracks.level[0][100:200].any()
    # 2000 of 32768 is 24.3 dB below full scale: 103.2 above the quietest, in half decibels.
    assert abs(float(tracks.level[0][:100].mean()) - 206.4) < 2


def test_where_a_block_ends_moves_nothing(tmp_path: Path) -> None:
    """The same sound half a block later has the same tracks, half a block later."""
    rng = np.random.default_rng(1)
    hertz = 120 + 30 * np.sin(np.arange(160 * 1600) / 9000)
    talk = voice(hertz, 16_000) + rng.normal(0, 60, len(hertz)).astype(np.int16)
    first, later = (np.zeros(160 * 2 * BLOCK_FRAMES, np.int16) for _ in range(2))
    shift = BLOCK_FRAMES - 800
    first[160 * 100 : 160 * 100 + len(talk)] = talk
    later[160 * (100 + shift) : 160 * (100 + shift) + len(talk)] = talk
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one, two = heard(tmp_path / "a", first), heard(tmp_path / "b", later)
    span = slice(100 - AROUND_FRAMES, 1700 + AROUND_FRAMES)
    moved = slice(span.start + shift, span.stop + shift)
    assert np.array_equal(one.pitch[0][span], two.pitch[0][moved])
    assert np.array_equal(one.level[0][span], two.level[0][moved])


def test_files_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    tracks = heard(tmp_path, voice(np.full(32_000, 200.0), 16_000))
    write_prosody(tracks, tmp_path)
    again = read_prosody(tmp_path)
    assert again.head == tracks.head and np.array_equal(again.pitch, tracks.pitch)
    np.save(tmp_path / PITCH_FILE, tracks.pitch[:, :-1])
    with pytest.raises(FormatError, match="that the head declares"):
        read_prosody(tmp_path)
    (tmp_path / PITCH_FILE).write_bytes(b"no array")
    with pytest.raises(FormatError, match="not an array"):
        read_prosody(tmp_path)
