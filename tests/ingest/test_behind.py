"""Files joined byte by byte: what stands behind the first one's end goes on where it ended, or is told."""

from __future__ import annotations

import struct
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from corpus.ingest.behind import first_end
from corpus.schemas.errors import MediaError

FORMS = {
    "wav": ("pcm_s16le", None),
    "w64": ("pcm_s16le", None),
    "aiff": ("pcm_s16be", None),
    "caf": ("pcm_s16be", None),
    "m4a": ("aac", None),
    "ogg": ("libopus", None),
    "mp4": ("aac", "libx264"),
    "mkv": ("libopus", "libx264"),
    "avi": ("pcm_s16le", "mpeg4"),
    "wmv": ("wmav2", "wmv2"),
    "flv": ("libmp3lame", "flv1"),
}


def write(media: ModuleType, path: Path, duration_s: float = 3) -> Path:
    sound, pictures = FORMS[path.suffix[1:]]
    chunk = {"libopus": 960, "libmp3lame": 1152, "wmav2": 2048}.get(sound, 1024)
    audio = media.Audio(sound, rate_hz=44_100 if path.suffix in (".flv", ".wmv") else 48_000, chunk=chunk)
    video = media.Video(pictures) if pictures else None
    written: Path = media.write_media(path, duration_s=duration_s, audio=[audio], video=video)
    return written


@pytest.mark.parametrize("suffix", FORMS)
def test_joined_files_go_on(suffix: str, media: ModuleType, tmp_path: Path, run: Any) -> None:
    one = write(media, tmp_path / f"one.{suffix}")
    joined = tmp_path / f"joined.{suffix}"
    joined.write_bytes(2 * one.read_bytes())
    alone, both = run(one), run(joined)
    first = alone.chirps()
    assert len(first) == 3
    assert both.chirps()[:3] == pytest.approx(first, abs=1e-3)
    moved = [later - sooner for later, sooner in zip(both.chirps()[3:], first, strict=True)]
    assert moved == pytest.approx([moved[0]] * 3, abs=1e-3)
    # Nothing of the first is written over, and nothing stands between them but one picture at most.
    longest = alone.decoded.duration_us / 1e6
    assert longest - 0.05 < moved[0] < longest + 0.05
    if suffix not in ("flv", "wmv"):  # their sound has a lead that no head tells of
        assert moved[0] == pytest.approx(3, abs=1e-3)
    assert {d.code for d in both.drops} <= {"last_partial_window"}
    if FORMS[suffix][1]:
        numbers = both.numbers()
        assert numbers[:14] == alone.numbers()[:14]
        if suffix not in ("flv", "wmv"):
            assert numbers[15:29] == alone.numbers()[:14]


def test_three_of_different_shape(media: ModuleType, tmp_path: Path, run: Any) -> None:
    parts = []
    for number, (rate, channels, size) in enumerate(((48_000, 2, 320), (44_100, 1, 240), (32_000, 1, 320))):
        audio = media.Audio("aac", rate_hz=rate, channels=channels)
        path = tmp_path / f"{number}.mp4"
        media.write_media(path, duration_s=2, audio=[audio], video=media.Video(width=size, height=240))
        parts.append(path.read_bytes())
    path = tmp_path / "x.mp4"
    path.write_bytes(b"".join(parts))
    result = run(path)
    truth = [2 * n + at for n in range(3) for at in (0.3, 1.15)]
    assert result.chirps() == pytest.approx(truth, abs=1e-3)
    assert result.decoded.duration_us == 6_000_000
    assert not result.drops


def wav(samples: np.ndarray[Any, Any], said: int | None = None) -> bytes:
    data = samples.astype("<i2").tobytes()
    form = b"fmt " + struct.pack("<IHHIIHH", 16, 1, 1, 16_000, 32_000, 2, 16)
    body = b"WAVE" + form + b"data" + struct.pack("<I", len(data) if said is None else said) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


def test_a_wav_that_says_too_little_is_told(tmp_path: Path, run: Any) -> None:
    path = tmp_path / "x.wav"
    path.write_bytes(wav(np.random.default_rng(1).integers(-9000, 9000, 32_000), said=32_000))
    (drop,) = run(path).drops
    assert (drop.kind, drop.code) == ("fault", "bytes_behind_the_end")
    assert drop.reason.startswith("32000 bytes")


def test_sound_in_a_second_data_chunk_is_told(tmp_path: Path, run: Any) -> None:
    """Every reader takes the first alone, the program ffmpeg too."""
    whole = wav(np.random.default_rng(1).integers(-9000, 9000, 32_000))
    at = whole.index(b"data")
    half = len(whole) - 32_000
    second = whole[:at] + b"data" + struct.pack("<I", 32_000) + whole[at + 8 : half]
    second += b"data" + struct.pack("<I", 32_000) + whole[half:]
    path = tmp_path / "x.wav"
    path.write_bytes(second[:4] + struct.pack("<I", len(second) - 8) + second[8:])
    (drop,) = run(path).drops
    assert (drop.kind, drop.code) == ("fault", "bytes_behind_the_end")
    assert drop.reason.startswith("32000 bytes")


def test_what_tools_put_behind_the_end_is_no_fault(tmp_path: Path, run: Any) -> None:
    whole = wav(np.random.default_rng(1).integers(-9000, 9000, 16_000))
    for number, more in enumerate((bytes(20_000), b"TAG" + bytes(125), b"\0")):
        path = tmp_path / f"{number}.wav"
        path.write_bytes(whole + more)
        assert not run(path).drops


@pytest.mark.parametrize("suffix", FORMS)
def test_a_file_alone_has_nothing_behind_it(suffix: str, media: ModuleType, tmp_path: Path) -> None:
    data = write(media, tmp_path / f"one.{suffix}", 1).read_bytes()
    end = first_end(lambda at, size: data[at : at + size], len(data))
    assert end.following is None and not end.unread
    for cut in np.random.default_rng(7).integers(1, len(data), 30).tolist():
        broken = data[:cut]
        assert first_end(lambda at, size, b=broken: b[at : at + size], cut).following is None


@pytest.mark.parametrize(
    "endless",
    [
        b"RIFF\xff\xff\xff\x0fWAVE" + b"fmt \0\0\0\0" * 500_000,
        bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c") + struct.pack("<Q", 24) + bytes(16 * 400_000),
        b"RIFF\x1c\0\0\0AVI " + bytes(24) + b"RIFF\x04\0\0\0AVIX" * 300_000,
        b"FLV\x01\5\0\0\0\x09" + bytes(4_000_000),
        b"\0\0\0\x08ftyp" * 400_000,
    ],
    ids=["chunks", "objects", "lists", "tags", "boxes"],
)
def test_walks_come_to_an_end(endless: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("corpus.ingest.behind._MOST_STEPS", 1000)
    reads = 0

    def read(at: int, size: int) -> bytes:
        nonlocal reads
        reads += 1
        return endless[at : at + size]

    first_end(read, 1 << 40)
    assert reads < 2100


def test_streams_of_different_clocks_are_refused(media: ModuleType, tmp_path: Path, run: Any) -> None:
    since_1970 = 1_700_000_000
    audio = media.Audio("pcm_s16le", stamps=lambda first: first + since_1970 * 48_000)
    path = media.write_media(tmp_path / "x.mkv", duration_s=2, audio=[audio], video=media.Video())
    with pytest.raises(MediaError, match="do not share a clock"):
        run(path)


CUT = dict.fromkeys(("wav", "w64", "avi"), "pcm_s16le") | dict.fromkeys(("aiff", "au", "caf"), "pcm_s16be")


@pytest.mark.parametrize("suffix", CUT)
def test_a_file_shorter_than_its_head_says_was_cut_off(
    suffix: str, media: ModuleType, tmp_path: Path, run: Any
) -> None:
    """libav takes the length of these from the file, so that it alone tells nothing."""
    whole = media.write_media(tmp_path / f"whole.{suffix}", duration_s=3, audio=[media.Audio(CUT[suffix])])
    data = whole.read_bytes()
    assert "truncated" not in run(whole).codes()
    for share in (0.3, 0.9):
        cut = tmp_path / f"cut.{suffix}"
        cut.write_bytes(data[: int(len(data) * share)])
        result = run(cut)
        assert "truncated" in result.codes()
        index_us = 40_000 if suffix == "avi" else 0  # whose index stands behind the sound
        assert result.decoded.duration_us == pytest.approx(3e6 * share, abs=20_000 + index_us)
        (detail,) = (o.detail for o in result.decoded.oddities if o.code == "truncated")
        assert f"{len(data) - cut.stat().st_size} bytes" in detail


@pytest.mark.parametrize("length", [0xFFFFFFFF, 0x7FFFF024, 0x7FFFFFFF, 0x80000024, 0])
def test_a_length_that_the_writer_could_not_know_says_nothing(
    length: int, media: ModuleType, tmp_path: Path, run: Any
) -> None:
    path = media.write_media(tmp_path / "x.wav", duration_s=1, audio=[media.Audio("pcm_s16le")])
    data = bytearray(path.read_bytes())
    at = data.index(b"data") + 4
    data[4:8] = struct.pack("<I", length)
    data[at : at + 4] = struct.pack("<I", max(0, length - at + 4) if length else 0xFFFFFFFF)
    path.write_bytes(data)
    result = run(path)
    assert "truncated" not in result.codes()
    assert result.decoded.duration_us == 1_000_000


@pytest.mark.parametrize(
    "magic", [b"riff\x2e\x91\xcf\x11", b"RIFF", b"FORM", b".snd", b"caff", b"OggS", b"FLV\x01"]
)
def test_a_head_and_nothing_behind_it(magic: bytes) -> None:
    for more in range(40):
        data = magic + bytes(more)
        first_end(lambda at, size, data=data: data[at : at + size], len(data))
