"""The facts that probe tells of a file."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from types import ModuleType

import pytest

from corpus.ingest.probe import MediaInfo, probe_media
from corpus.schemas.codec import from_json, to_json
from corpus.schemas.errors import MediaError


def test_facts_of_a_film(media: ModuleType, tmp_path: Path) -> None:
    video = media.Video(rate=Fraction(30_000, 1001), width=322, height=182)
    sound = media.Audio(rate_hz=44_100, channels=2)
    info = probe_media(media.write_media(tmp_path / "x.mp4", audio=[sound], video=video))
    pictures, tones = info.streams
    assert "mp4" in info.container
    assert info.bytes == (tmp_path / "x.mp4").stat().st_size
    assert info.duration_us == pytest.approx(6_000_000, abs=50_000)
    assert (pictures.kind, pictures.codec, pictures.rate, pictures.rate_kind) == (
        "video",
        "h264",
        "30000/1001",
        "constant",
    )
    assert (pictures.width, pictures.height, pictures.format) == (322, 182, "yuv420p")
    assert (tones.kind, tones.codec, tones.rate, tones.channels) == ("audio", "aac", "44100", 2)
    assert pictures.chosen and tones.chosen
    assert pictures.offset_us == tones.offset_us == 0
    assert not info.oddities and not pictures.oddities and not tones.oddities


def test_the_answer_goes_through_json(media: ModuleType, tmp_path: Path) -> None:
    info = probe_media(media.write_media(tmp_path / "x.ts", audio=[media.Audio()], video=media.Video()))
    assert from_json(MediaInfo, to_json(info)) == info


def test_variable_frame_rate_and_offset_are_odd(media: ModuleType, tmp_path: Path) -> None:
    times = [Fraction(1, 4) + Fraction(n, 30) + Fraction(n * n % 20, 1000) for n in range(150)]
    video = media.Video(times=times, time_base=Fraction(1, 600))
    info = probe_media(media.write_media(tmp_path / "x.mov", audio=[media.Audio()], video=video))
    pictures = next(s for s in info.streams if s.kind == "video")
    assert pictures.rate_kind == "variable"
    assert pictures.offset_us == 250_000
    assert {o.code for o in pictures.oddities} == {"variable_frame_rate", "start_offset"}


def test_probe_reads_only_the_head(media: ModuleType, tmp_path: Path) -> None:
    path = media.write_media(
        tmp_path / "x.mkv", audio=[media.Audio("pcm_s16le")], video=media.Video(), duration_s=20
    )
    data = path.read_bytes()
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(data[: len(data) * 2 // 3])
    whole, half = probe_media(path), probe_media(cut)
    assert [s.offset_us for s in whole.streams] == [s.offset_us for s in half.streams]
    assert whole.duration_us == half.duration_us


def test_a_file_with_only_cover_art_holds_nothing(media: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "x.mp3"
    media.write_media(path, audio=[media.Audio("libmp3lame", chunk=1152)])
    path.write_bytes(media.id3_with_cover(width=80, height=80) + path.read_bytes())
    info = probe_media(path)
    cover = next(s for s in info.streams if s.kind == "video")
    assert not cover.chosen
    assert {o.code for o in cover.oddities} == {"cover_art"}


def test_a_container_without_streams(tmp_path: Path) -> None:
    (tmp_path / "x.mkv").write_bytes(
        bytes.fromhex("1a45dfa3934282886d6174726f736b61428781044285810218538067ff")
    )
    with pytest.raises(MediaError):
        probe_media(tmp_path / "x.mkv")
