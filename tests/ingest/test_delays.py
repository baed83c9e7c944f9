"""What a codec puts before the sound, in files of other programs: left out where the form defines it."""

from __future__ import annotations

import shutil
import subprocess
import wave
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

SECONDS = 4


def as_it_is(data: bytes) -> bytes:
    return data


def primed(samples: int) -> Callable[[bytes], bytes]:
    """A CAF whose packet table says what its encoder puts in front, as Apple's writer does."""

    def change(data: bytes) -> bytes:
        at = data.index(b"pakt") + 12 + 16
        return data[:at] + samples.to_bytes(4, "big") + data[at + 4 :]

    return change


@dataclass
class Made:
    suffix: str
    encoder: str
    rate_hz: int = 48_000
    lead_s: Fraction = Fraction(0)
    """What stays in front of the sound, because nothing in the file tells of it."""
    options: list[str] = field(default_factory=list)
    change: Callable[[bytes], bytes] = as_it_is


M2TS = ["-f", "mpegts", "-mpegts_m2ts_mode", "1"]
MADE = {
    # SPEEX_GET_LOOKAHEAD of libspeex' encoder and decoder; its own player, speexdec, leaves out both.
    "Speex, narrow band": Made("spx", "libspeex", 8_000),
    "Speex, wide band, five frames a packet": Made(
        "spx", "libspeex", 16_000, options=["-frames_per_packet", "5"]
    ),
    "Speex, ultra-wide band": Made("spx", "libspeex", 32_000),
    "Speex in FLV, which has no header of it": Made("flv", "libspeex", 16_000),
    # ETSI TS 101 154's draft for Opus: start_trim in the control header.
    "Opus in MPEG-TS": Made("ts", "libopus"),
    "Opus in M2TS": Made("m2ts", "libopus", options=M2TS),
    # RFC 7845: pre-skip; Matroska: CodecDelay.
    "Opus in Ogg": Made("opus", "libopus"),
    "Opus in WebM": Made("webm", "libopus"),
    # mPrimingFrames of Apple's CAF specification; ffmpeg 5.1 writes none for Opus' 312 samples.
    "Opus in CAF that says nothing": Made("caf", "libopus", lead_s=Fraction(312, 48_000)),
    "Opus in CAF": Made("caf", "libopus", change=primed(312)),
    "FLAC in CAF, whose packets differ from what its head says": Made("caf", "flac", 44_100),
    "ALAC in CAF": Made("caf", "alac", 44_100),
    "FLAC in MP4": Made("mp4", "flac", 44_100, options=["-strict", "-2"]),
    "MP3 with LAME's head": Made("mp3", "libmp3lame", 44_100),
    "MP3 without it": Made("mp3", "libmp3lame", 44_100, Fraction(1105, 44_100), options=["-write_xing", "0"]),
    "E-AC-3 in MPEG-TS": Made("ts", "eac3", lead_s=Fraction(256, 48_000)),
    "AAC in LATM": Made("latm", "aac", lead_s=Fraction(1024, 48_000)),
}


@pytest.mark.parametrize("name", MADE)
def test_sound_of_another_encoder_is_where_it_was(
    name: str, media: ModuleType, tmp_path: Path, run: Any
) -> None:
    one = MADE[name]
    sound = media.sound(one.rate_hz, SECONDS)
    path = encoded(tmp_path, sound, one.rate_hz, f"x.{one.suffix}", ["-c:a", one.encoder, *one.options])
    path.write_bytes(one.change(path.read_bytes()))
    result = run(path)
    truth = [c / 1e6 + float(one.lead_s) for c in media.CHIRPS_US if c < 3_800_000]
    assert result.chirps() == pytest.approx(truth, abs=1e-4)
    assert {d.code for d in result.drops} <= {"last_partial_window"}
    assert not result.codes() - {"negative_start"}


@pytest.mark.parametrize("suffix", ["amr", "3gp"])
def test_the_pauses_of_a_telephone_are_no_damage(
    suffix: str, media: ModuleType, tmp_path: Path, run: Any
) -> None:
    """AMR sends a description of silence in place of most frames in which nobody talks."""
    if shutil.which("sox") is None or shutil.which("ffmpeg") is None:
        pytest.skip("needs the programs sox and ffmpeg")
    sound = media.sound(8_000, SECONDS)
    write_wav(tmp_path / "x.wav", sound, 8_000)
    made = subprocess.run(
        ["sox", "x.wav", "-t", "amr-nb", "x.amr"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    if made.returncode:
        pytest.skip(f"sox has no encoder for AMR: {made.stderr.strip()}")
    if suffix != "amr":
        subprocess.run(
            ["ffmpeg", "-v", "error", "-i", "x.amr", "-c", "copy", "x.3gp"], cwd=tmp_path, check=True
        )
    # Frames of one byte and of six: silence, and its description.
    assert min(packet_sizes(tmp_path / f"x.{suffix}")) == 1
    result = run(tmp_path / f"x.{suffix}")
    assert result.decoded.windows == SECONDS * 5
    assert not result.drops and not result.codes()
    # The encoder looks 5 ms ahead, which no container of AMR tells of; speech codecs keep no phase exactly.
    assert lag_s(result.sound(), media.sound(16_000, SECONDS), 16_000) == pytest.approx(0.005, abs=1e-3)


def test_stamps_that_stand_still_are_counted(media: ModuleType, tmp_path: Path, run: Any) -> None:
    """ffmpeg's writer of RealMedia gives all packets the time 0."""
    sound = media.sound(8_000, SECONDS)
    path = encoded(tmp_path, sound, 8_000, "x.rm", ["-c:a", "real_144"])
    result = run(path)
    # 160 samples of the encoder's; RealMedia has no field for them.
    assert lag_s(result.sound(), media.sound(16_000, SECONDS), 16_000) == pytest.approx(0.02, abs=1e-3)
    assert result.decoded.windows == SECONDS * 5 and not result.codes() & {"restart", "drift", "hole"}


def lag_s(heard: npt.NDArray[np.int16], truth: npt.NDArray[np.float64], rate_hz: int) -> float:
    """How much later what is heard comes."""
    size = 1 << 18
    spectrum = np.fft.rfft(heard / 32768, size) * np.conj(np.fft.rfft(truth, size))
    best = int(np.fft.irfft(spectrum, size).argmax())
    return (best if best < size // 2 else best - size) / rate_hz


def packet_sizes(path: Path) -> list[int]:
    asked = ["ffprobe", "-v", "error", "-show_entries", "packet=size", "-of", "csv=p=0", str(path)]
    printed = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    return [int(line.strip(",")) for line in printed.split()]


def write_wav(path: Path, sound: npt.NDArray[np.float64], rate_hz: int) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes((sound * 32767).round().astype("<i2").tobytes())


def encoded(
    folder: Path, sound: npt.NDArray[np.float64], rate_hz: int, name: str, options: list[str]
) -> Path:
    """A file of the program ffmpeg, whatever libav this project reads with."""
    if shutil.which("ffmpeg") is None:
        pytest.skip("needs the program ffmpeg")
    write_wav(folder / "sound.wav", sound, rate_hz)
    asked = ["ffmpeg", "-v", "error", "-i", "sound.wav", *options, name]
    made = subprocess.run(asked, cwd=folder, capture_output=True, text=True, check=False)
    if "Unknown encoder" in made.stderr:
        pytest.skip(made.stderr.strip())
    assert made.returncode == 0, made.stderr
    return folder / name


def test_wideband_amr_and_its_pauses(tmp_path: Path, run: Any) -> None:
    """Frames by hand (RFC 4867, 5.3), for want of an encoder: nothing, speech of random bits, pauses."""
    rng = np.random.default_rng(4)
    pause = b"\x4c" + bytes(5) + b"\x7c" * 7  # a description of the noise, then frames that say nothing
    speech = b"".join(b"\x1c" + rng.bytes(36) for _ in range(50))  # 14.25 kbit/s
    path = tmp_path / "x.awb"
    path.write_bytes(b"#!AMR-WB\n" + b"\x7c" * 64 + speech + pause * 4)
    result = run(path)
    frames = 64 + 50 + 4 * 8
    assert result.decoded.duration_us == frames * 20_000
    assert not result.codes() and {d.code for d in result.drops} == {"last_partial_window"}
    level = np.abs(result.sound().astype(int)).reshape(-1, 160).max(1)  # of each 10 ms
    begins = 2 * 64
    assert level[: begins - 1].max() < 50 and level[begins + 2 : begins + 90].min() > 50
