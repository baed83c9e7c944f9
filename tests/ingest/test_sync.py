"""Sound within 1 ms and every picture in its window, in every container and oddity people have.

`Case.sound_at` and `Case.pictures_at` are written down from what the file's stamps mean, never read
from the decoder: the recording's time of media time zero for each stream.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

AAC = Fraction(1024, 48_000)
"""What the AAC encoder puts before the sound. Containers without edit lists show it to the player."""
MP2 = Fraction(481, 48_000)
LAME = Fraction(1105, 48_000)
"""LAME's 576 samples and the decoder's 529."""
AC3 = Fraction(256, 48_000)
"""Half a transform of AC-3. A programme stream cannot say that it comes before the sound."""
FRAME = Fraction(1, 30)
SECONDS = 6


@dataclass
class Case:
    build: Callable[[ModuleType, Path], Any]
    """Writes the file."""
    sound_at: Fraction | None = Fraction(0)
    """Recording time of the sound's media time zero; None without sound."""
    pictures_at: Fraction | None = Fraction(0)
    times: list[Fraction] = field(default_factory=lambda: [n * FRAME for n in range(SECONDS * 30)])
    """Media times of the pictures."""
    stretch: Fraction = Fraction(1)
    codes: set[str] = field(default_factory=set)
    """Oddities that must be reported."""
    chirps_missing: int = 0
    suffix: str = "mp4"


def plain(video: str | None, audio: str | None, **audio_options: Any) -> Callable[[ModuleType, Path], Any]:
    def build(m: ModuleType, path: Path) -> Any:
        chunk = {"libopus": 960, "libmp3lame": 1152, "mp2": 1152, "flac": 4608, "ac3": 1536}.get(
            audio or "", 1024
        )
        sounds = [m.Audio(audio, chunk=chunk, **audio_options)] if audio else []
        return m.write_media(path, audio=sounds, video=m.Video(video) if video else None)

    return build


def vorbis(m: ModuleType, path: Path) -> Any:
    return m.write_media(path, audio=[m.Audio("vorbis", channels=2, chunk=64, options={"strict": "-2"})])


def avi_mp3(m: ModuleType, path: Path) -> Any:
    # AVI has no negative stamps; a recorder writes the encoder's first packet at zero.
    def shift(packet: Any) -> Any:
        if packet.stream.type == "audio":
            packet.pts += 1105
            packet.dts += 1105
        return packet

    audio = [m.Audio("libmp3lame", chunk=1152)]
    return m.write_media(path, audio=audio, video=m.Video("mpeg4"), mux=shift)


VFR = [Fraction(n, 30) + Fraction((n * n * 7) % 23, 1000) for n in range(150)] + [
    5 + Fraction(n, 90) for n in range(90)
]


def vfr(container_base: Fraction) -> Callable[[ModuleType, Path], Any]:
    def build(m: ModuleType, path: Path) -> Any:
        codec = "libx264" if path.suffix != ".webm" else "libvpx-vp9"
        sound = m.Audio() if path.suffix != ".webm" else m.Audio("libopus", chunk=960)
        return m.write_media(path, audio=[sound], video=m.Video(codec, times=VFR, time_base=container_base))

    return build


def b_frames(m: ModuleType, path: Path) -> Any:
    options = {"preset": "veryfast", "bf": "3", "x264-params": "b-pyramid=normal:keyint=48"}
    return m.write_media(path, audio=[m.Audio()], video=m.Video(options=options))


def late(*, sound: Fraction, pictures: Fraction) -> Callable[[ModuleType, Path], Any]:
    def build(m: ModuleType, path: Path) -> Any:
        times = [pictures + n * FRAME for n in range(SECONDS * 30)]
        by = int(sound * 48_000)
        return m.write_media(
            path,
            audio=[m.Audio(stamps=lambda first: first + by)],
            video=m.Video(times=times, time_base=Fraction(1, 600)),
        )

    return build


def cut_start(m: ModuleType, path: Path) -> Any:
    """Half a second before zero: the edit list hides it, so a player starts at zero."""
    return m.write_media(
        path,
        audio=[m.Audio("pcm_s16le", stamps=lambda first: first - 24_000)],
        video=m.Video(times=[n * FRAME - Fraction(1, 2) for n in range(180)], options={"g": "1"}),
        options={"avoid_negative_ts": "disabled"},
    )


def gap(start_s: Fraction, length_s: Fraction) -> Callable[[ModuleType, Path], Any]:
    """Sound is missing for a while: its packets are not there, the later ones keep their stamps."""

    def build(m: ModuleType, path: Path) -> Any:
        def drop(packet: Any) -> Any:
            time = packet.pts * packet.time_base
            lost = packet.stream.type == "audio" and start_s <= time < start_s + length_s
            return None if lost else packet

        return m.write_media(path, audio=[m.Audio()], video=m.Video(), mux=drop)

    return build


def jittery(m: ModuleType, path: Path) -> Any:
    """Stamps that wander up to 4 ms to and fro."""
    wander = (0, 3, -4, 1, -2, 4, -1, 2, -3)

    def shake(first: int) -> int:
        return first + 48 * wander[first // 480 % 9] if first else 0

    return m.write_media(
        path,
        audio=[m.Audio("pcm_s16le", chunk=480, stamps=shake)],
        video=m.Video(),
    )


def drifting(m: ModuleType, path: Path) -> Any:
    """A sound card whose 48000 samples take 1.001 s by the container's clock."""
    return m.write_media(
        path,
        audio=[m.Audio("pcm_s16le", stamps=lambda first: round(Fraction(first * 1001, 1000)))],
        video=m.Video(),
    )


def step(m: ModuleType, path: Path) -> Any:
    """3 ms of sound lost for good in the middle: too little for a hole, too lasting for jitter."""
    return m.write_media(
        path,
        audio=[m.Audio("pcm_s16le", stamps=lambda first: first + (144 if first >= 2 * 48_000 else 0))],
        video=m.Video(),
    )


CASES = {
    "mp4 h264 aac": Case(plain("libx264", "aac")),
    "mp4 h264 b-frames aac": Case(b_frames),
    "mp4 h264 opus": Case(plain("libx264", "libopus")),
    "mp4 h264 mp3": Case(plain("libx264", "libmp3lame")),
    "mov h264 pcm": Case(plain("libx264", "pcm_s16le"), suffix="mov"),
    "mkv hevc opus": Case(plain("libx265", "libopus"), suffix="mkv"),
    "mkv h264 aac": Case(plain("libx264", "aac"), suffix="mkv"),
    "mkv h264 flac": Case(plain("libx264", "flac"), suffix="mkv"),
    "webm vp8 opus": Case(plain("libvpx", "libopus"), suffix="webm"),
    "ts h264 aac": Case(plain("libx264", "aac"), AAC, AAC, suffix="ts", codes={"start_offset"}),
    "ts mpeg2 mp2": Case(plain("mpeg2video", "mp2"), MP2, MP2, suffix="ts", codes={"start_offset"}),
    "vob mpeg2 ac3": Case(plain("mpeg2video", "ac3"), AC3, AC3, suffix="vob", codes={"start_offset"}),
    "avi mpeg4 pcm": Case(plain("mpeg4", "pcm_s16le"), suffix="avi"),
    "avi mpeg4 mp3": Case(avi_mp3, sound_at=LAME, suffix="avi"),
    "flv h264 aac 44100": Case(
        plain("libx264", "aac", rate_hz=44_100),
        Fraction(1024, 44_100),
        Fraction(1024, 44_100),
        suffix="flv",
        codes={"start_offset"},
    ),
    "ogg vorbis": Case(vorbis, pictures_at=None, suffix="ogg"),
    "opus": Case(plain(None, "libopus"), pictures_at=None, suffix="opus"),
    "wav": Case(plain(None, "pcm_s16le"), pictures_at=None, suffix="wav"),
    "wav 44100": Case(plain(None, "pcm_s16le", rate_hz=44_100), pictures_at=None, suffix="wav"),
    "wav 8000": Case(plain(None, "pcm_s16le", rate_hz=8_000), pictures_at=None, suffix="wav"),
    "flac": Case(plain(None, "flac"), pictures_at=None, suffix="flac"),
    "mp3": Case(plain(None, "libmp3lame"), pictures_at=None, suffix="mp3"),
    "m4a": Case(plain(None, "aac"), pictures_at=None, suffix="m4a"),
    "adts aac": Case(plain(None, "aac"), sound_at=AAC, pictures_at=None, suffix="aac"),
    "video only": Case(plain("libx264", None), sound_at=None, codes={"no_sound"}),
    "mp4 variable rate": Case(vfr(Fraction(1, 90_000)), times=VFR, codes={"variable_frame_rate"}),
    "webm variable rate": Case(
        vfr(Fraction(1, 1000)), times=VFR, suffix="webm", codes={"variable_frame_rate"}
    ),
    "mp4 sound late": Case(
        late(sound=Fraction(42, 100), pictures=Fraction(0)), Fraction(42, 100), codes={"start_offset"}
    ),
    "mp4 pictures late": Case(
        late(sound=Fraction(0), pictures=Fraction(35, 100)),
        pictures_at=Fraction(35, 100),
        codes={"start_offset"},
    ),
    "mkv both late": Case(
        late(sound=Fraction(5) + Fraction(1, 10), pictures=Fraction(5)), Fraction(1, 10), suffix="mkv"
    ),
    "mov start cut by edit list": Case(
        cut_start,
        -Fraction(1, 2),
        -Fraction(1, 2),
        times=[n * FRAME for n in range(180)],
        chirps_missing=1,
        suffix="mov",
    ),
    "ts hole": Case(gap(Fraction(19, 10), Fraction(1, 2)), AAC, AAC, suffix="ts", codes={"hole"}),
    "mkv hole": Case(gap(Fraction(19, 10), Fraction(1, 2)), suffix="mkv", codes={"hole"}),
    "mkv jitter": Case(jittery, suffix="mkv"),
    "mkv drift": Case(drifting, stretch=Fraction(1001, 1000), suffix="mkv", codes={"drift"}),
    "mkv step": Case(step, suffix="mkv", codes={"drift"}),
}


@pytest.mark.parametrize("name", CASES)
def test_sound_and_pictures_are_where_the_file_says(
    name: str, media: ModuleType, run: Any, expected: Any, tmp_path: Path
) -> None:
    case = CASES[name]
    path = tmp_path / f"case.{case.suffix}"
    case.build(media, path)
    result = run(path)
    if case.sound_at is not None:
        truth = [float(case.sound_at + Fraction(c, 10**6) * case.stretch) for c in media.CHIRPS_US][
            case.chirps_missing :
        ]
        if name == "mkv step":
            truth = [t + (0.003 if t > 2 else 0) for t in truth]
        assert result.chirps() == pytest.approx(truth, abs=0.001)
    if case.pictures_at is not None:
        times = [t + case.pictures_at for t in case.times]
        windows = list(range(result.decoded.windows))
        end = Fraction(result.stream("video").offset_us + result.stream("video").duration_us, 10**6)
        assert result.numbers() == expected(times, end, windows)
    else:
        assert (result.decoded.picture_width, result.decoded.picture_height) == (0, 0)
    assert case.codes <= result.codes()
