"""Bad input ends as a MediaError with a sentence, or is used as far as it is sound. Never anything else."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from corpus.ingest.probe import probe_media
from corpus.schemas.errors import MediaError


@pytest.fixture(scope="module")
def mp4(media: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("whole") / "whole.mp4"
    options = {"movflags": "+faststart"}
    media.write_media(path, audio=[media.Audio()], video=media.Video(), options=options)
    return path.read_bytes()


def refused(path: Path, run: Any) -> str:
    """The sentence with which both probe and decode refuse; it names the file, not its folder."""
    with pytest.raises(MediaError) as probed:
        probe_media(path)
    with pytest.raises(MediaError) as decoded:
        run(path)
    assert str(probed.value) == str(decoded.value)
    assert path.name in str(probed.value) and str(path.parent) not in str(probed.value)
    return probed.value.what


def test_missing(tmp_path: Path, run: Any) -> None:
    assert "No such file" in refused(tmp_path / "none.mp4", run)


def test_empty(tmp_path: Path, run: Any) -> None:
    (tmp_path / "x.mp4").touch()
    assert "empty" in refused(tmp_path / "x.mp4", run)


def test_folder_named_like_a_video(tmp_path: Path, run: Any) -> None:
    (tmp_path / "x.mp4").mkdir()
    assert "folder" in refused(tmp_path / "x.mp4", run)


def test_pipe_is_never_opened(tmp_path: Path, run: Any) -> None:
    os.mkfifo(tmp_path / "x.mp4")
    assert "pipe" in refused(tmp_path / "x.mp4", run)


def test_device(run: Any) -> None:
    assert "not a regular file" in refused(Path("/dev/null"), run)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_unreadable(tmp_path: Path, mp4: bytes, run: Any) -> None:
    (tmp_path / "x.mp4").write_bytes(mp4)
    (tmp_path / "x.mp4").chmod(0)
    assert "Permission denied" in refused(tmp_path / "x.mp4", run)


PLAYLIST = "#EXTM3U\n#EXT-X-TARGETDURATION:6\n#EXTINF:6,\n{}\n#EXT-X-ENDLIST\n"


@pytest.mark.parametrize(
    "content",
    [
        b"Dear all, please find the recording attached.\n" * 50,
        bytes(100_000),
        np.random.default_rng(3).integers(0, 256, 50_000, np.uint8).tobytes(),
        b"\x89PNG\r\n\x1a\n" + bytes(1000),
        b"ffconcat version 1.0\nfile 'whole.mp4'\n",
        b"\x1b[31mred\x1b[0m\n" * 100,
        b"RIFF\x24\x00\x00\x00WAVE",
        b"%PDF-1.7\n" + bytes(2000),
    ],
    ids=["text", "zeros", "noise", "png", "concat", "ansi", "wav head", "pdf"],
)
def test_no_media(content: bytes, tmp_path: Path, run: Any) -> None:
    (tmp_path / "x.mp4").write_bytes(content)
    assert len(refused(tmp_path / "x.mp4", run)) > 20


def test_playlist_leads_to_no_other_file(tmp_path: Path, mp4: bytes, run: Any) -> None:
    (tmp_path / "other.mp4").write_bytes(mp4)
    (tmp_path / "x.m3u8").write_text(PLAYLIST.format((tmp_path / "other.mp4").as_uri()))
    refused(tmp_path / "x.m3u8", run)


def test_cut_off_before_anything_is_known(tmp_path: Path, mp4: bytes, run: Any) -> None:
    (tmp_path / "x.mp4").write_bytes(mp4[:200])
    assert "cut off" in refused(tmp_path / "x.mp4", run)


def test_cut_off_in_the_middle_is_used_and_flagged(
    tmp_path: Path, mp4: bytes, run: Any, media: ModuleType
) -> None:
    (tmp_path / "x.mp4").write_bytes(mp4[: len(mp4) * 6 // 10])
    result = run(tmp_path / "x.mp4")
    assert "truncated" in result.codes()
    assert 2_000_000 < result.decoded.duration_us < 4_500_000
    whole = [c / 1e6 for c in media.CHIRPS_US if c / 1e6 + 0.2 < result.decoded.duration_us / 1e6]
    assert result.chirps()[: len(whole)] == pytest.approx(whole, abs=0.001)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "avi", "flv", "ogg", "wav", "mp3"])
def test_any_damage_is_used_or_refused(suffix: str, media: ModuleType, tmp_path: Path, run: Any) -> None:
    path = tmp_path / f"x.{suffix}"
    codec = {"avi": "mpeg4"}.get(suffix, "libx264")
    sound = {"wav": "pcm_s16le", "mp3": "libmp3lame", "ogg": "libopus", "avi": "pcm_s16le"}.get(suffix, "aac")
    video = None if suffix in ("wav", "mp3", "ogg") else media.Video(codec, width=64, height=48)
    rate = 44_100 if suffix == "flv" else 48_000
    audio = media.Audio(sound, rate_hz=rate, chunk=960 if sound == "libopus" else 1024)
    media.write_media(
        path,
        duration_s=2,
        audio=[audio],
        video=video,
        options={"page_duration": "100000"} if suffix == "ogg" else {},
    )
    whole = path.read_bytes()
    rng = np.random.default_rng(len(suffix) * 1000 + len(whole))
    used = 0
    for turn in range(10):
        data = bytearray(whole[: rng.integers(len(whole) // 2, len(whole))] if turn % 3 == 0 else whole)
        for _ in range(int(rng.integers(1, 60))):
            data[int(rng.integers(0 if turn % 2 else 1000, len(data)))] = int(rng.integers(256))
        path.write_bytes(data)
        try:
            result = run(path)
        except MediaError as error:
            assert error.what
            continue
        used += 1
        assert len(result.rows) == result.decoded.windows
        assert len(result.sound()) >= result.decoded.windows * 3200
    assert used > 0


def test_broken_packets_in_the_middle_leave_a_hole(media: ModuleType, tmp_path: Path, run: Any) -> None:
    path = media.write_media(tmp_path / "x.ts", audio=[media.Audio()], video=media.Video())
    data = bytearray(path.read_bytes())
    third = len(data) // 3 // 188 * 188
    data[third : third + 188 * 60] = np.random.default_rng(0).integers(0, 256, 188 * 60, np.uint8).tobytes()
    path.write_bytes(data)
    result = run(path)
    assert result.codes() & {"corrupt_packets", "hole"}
    assert result.decoded.padded
    # What comes after the damage is where it was.
    assert result.chirps()[-1] == pytest.approx(4.62 + 1024 / 48_000, abs=0.001)


@pytest.mark.parametrize(
    "name", ["a b.mp4", "a\nb.mp4", "-i.mp4", "größe 日本.mp4", "x%03d.mp4", "http:x.mp4", "a:b|c.mp4"]
)
def test_a_name_is_only_a_name(name: str, mp4: bytes, tmp_path: Path, run: Any, monkeypatch: Any) -> None:
    (tmp_path / name).write_bytes(mp4)
    monkeypatch.chdir(tmp_path)
    assert run(Path(name)).decoded.windows == 30
    assert probe_media(Path(name)).streams


@pytest.mark.parametrize("name", ["x.wav", "x.txt", "x", "x.mp3"])
def test_a_wrong_or_missing_ending_does_not_matter(name: str, mp4: bytes, tmp_path: Path, run: Any) -> None:
    (tmp_path / name).write_bytes(mp4)
    assert run(tmp_path / name).decoded.windows == 30


def wav_header(*, rate: int = 48_000, channels: int = 1, size: int = 96_000) -> bytes:
    align = channels * 2
    form = struct.pack("<HHIIHH", 1, channels & 0xFFFF, rate, (rate * align) & 0xFFFFFFFF, align & 0xFFFF, 16)
    return (
        b"RIFF"
        + struct.pack("<I", size + 36)
        + b"WAVEfmt "
        + struct.pack("<I", 16)
        + form
        + b"data"
        + struct.pack("<I", size)
    )


@pytest.mark.parametrize("rate", [0, 7, 2_000_000_000])
def test_absurd_sample_rate(rate: int, tmp_path: Path, run: Any) -> None:
    (tmp_path / "x.wav").write_bytes(wav_header(rate=rate) + bytes(96_000))
    refused(tmp_path / "x.wav", run)


def test_absurd_number_of_channels(tmp_path: Path, run: Any) -> None:
    (tmp_path / "x.wav").write_bytes(wav_header(channels=30_000) + bytes(96_000))
    assert "channels" in refused(tmp_path / "x.wav", run)


def test_absurd_length_of_a_chunk_is_not_believed(tmp_path: Path, run: Any) -> None:
    (tmp_path / "x.wav").write_bytes(wav_header(size=0xFFFFFF00) + bytes(96_000))
    result = run(tmp_path / "x.wav")
    assert result.decoded.duration_us == 1_000_000


def patched(data: bytes, box: bytes, change: Callable[[bytearray, int], None], *, nth: int = 0) -> bytes:
    """`data` with the nth box of a type changed; the change gets the place behind the type."""
    out, at = bytearray(data), -1
    for _ in range(nth + 1):
        at = data.index(box, at + 1)
    change(out, at + 4)
    return bytes(out)


def test_absurd_picture_size(mp4: bytes, tmp_path: Path, run: Any, media: ModuleType) -> None:
    # The picture's size stands in the sample description; that of a raw codec is believed.
    path = media.write_media(tmp_path / "x.avi", video=media.Video("mjpeg", pix_fmt="yuvj420p"), duration_s=1)
    data = bytearray(path.read_bytes())
    at = data.index(b"strf", data.index(b"vids")) + 8
    data[at + 4 : at + 12] = struct.pack("<ii", 100_000, 100_000)
    path.write_bytes(data)
    try:
        info = probe_media(path)
    except MediaError as error:
        assert "pixels" in error.what or "size" in str(error)
    else:
        # The pictures themselves say better.
        assert info.streams[0].coded_width == 320


def test_absurd_duration(mp4: bytes, tmp_path: Path, run: Any) -> None:
    def century(data: bytearray, at: int) -> None:
        data[at + 16 : at + 20] = struct.pack(">I", 0xFFFFFFF0)

    path = tmp_path / "x.mp4"
    path.write_bytes(patched(mp4, b"mvhd", century))
    assert run(path).decoded.windows == 30
