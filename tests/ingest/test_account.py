"""Nothing of a file is lost without a word; headers are read as all they say; who keeps the clock."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from corpus.ingest.clocks import PresentationOrder
from corpus.ingest.names import is_media_name
from corpus.schemas.errors import MediaError


def wav(path: Path, form: bytes, data: bytes) -> Path:
    body = b"WAVEfmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", len(data)) + data
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)
    return path


GUID = struct.pack("<HHI8s", 1, 0, 0x00100000, b"\x80\0\0\xaa\0\x38\x9b\x71")


@pytest.mark.parametrize("channels", [1, 2])
def test_24_bits_in_words_of_32(channels: int, tmp_path: Path, run: Any) -> None:
    samples = np.random.default_rng(1).integers(-8000, 8000, 16_000)
    words = np.repeat((samples << 16).astype("<i4"), channels).tobytes()
    block = 4 * channels
    form = struct.pack("<HHIIHHHHI", 0xFFFE, channels, 16_000, 16_000 * block, block, 32, 22, 24, channels)
    assert np.array_equal(run(wav(tmp_path / "x.wav", form + GUID, words)).sound(), samples)


def test_24_bits_in_words_of_32_without_saying_so(tmp_path: Path, run: Any) -> None:
    samples = np.random.default_rng(2).integers(-8000, 8000, 16_000)
    form = struct.pack("<HHIIHH", 1, 1, 16_000, 64_000, 4, 24)
    path = wav(tmp_path / "x.wav", form, (samples << 16).astype("<i4").tobytes())
    assert np.array_equal(run(path).sound(), samples)


@pytest.mark.parametrize(
    "form", [(1, 2, 16_000, 32_000, 2, 16), (1, 1, 16_000, 88_200, 2, 16), (3, 1, 16_000, 32_000, 2, 32)]
)
def test_a_header_with_no_reading_that_fits_is_refused(
    form: tuple[int, ...], tmp_path: Path, run: Any
) -> None:
    with pytest.raises(MediaError, match="contradicts itself"):
        run(wav(tmp_path / "x.wav", struct.pack("<HHIIHH", *form), bytes(64_000)))


def test_channels_that_cancel_each_other_are_told(tmp_path: Path, run: Any) -> None:
    left = np.random.default_rng(3).integers(-8000, 8000, 32_000).astype("<i2")
    form = struct.pack("<HHIIHH", 1, 2, 16_000, 64_000, 4, 16)
    result = run(wav(tmp_path / "x.wav", form, np.stack([left, -left], 1).tobytes()))
    assert [(d.kind, d.code) for d in result.drops] == [("fault", "channels_cancel")]
    assert "2.0 s" in result.drops[0].reason
    same = run(wav(tmp_path / "y.wav", form, np.stack([left, left], 1).tobytes()))
    assert not same.drops


def tracks(media: ModuleType, path: Path, first_s: float, second_at: int) -> Path:
    """Two tracks: the first from 0 for `first_s`, the second for 3 s from `second_at` samples on."""
    first = media.Audio("pcm_s16le", track=media.sound(48_000, first_s, [500_000]))
    second = media.Audio(
        "pcm_s16le", track=media.sound(48_000, 3, [500_000]), stamps=lambda sample: sample + second_at
    )
    media.write_media(path, duration_s=3, audio=[first, second])
    return path


def test_a_second_track_of_the_same_time_is_a_trim(media: ModuleType, tmp_path: Path, run: Any) -> None:
    result = run(tracks(media, tmp_path / "x.mkv", 3, 0))
    assert [(d.kind, d.code) for d in result.drops] == [("trim", "second_track")]


def test_sound_where_the_used_track_has_none_is_a_fault(media: ModuleType, tmp_path: Path, run: Any) -> None:
    result = run(tracks(media, tmp_path / "x.mkv", 3, 3 * 48_000 // 2))
    assert ("fault", "stream_left_out") in [(d.kind, d.code) for d in result.drops]
    assert "1.5 s" in next(d.reason for d in result.drops if d.code == "stream_left_out")


def test_zero_is_the_earliest_of_all_streams(media: ModuleType, tmp_path: Path, run: Any) -> None:
    path = media.write_media(
        tmp_path / "x.mkv",
        duration_s=3,
        audio=[media.Audio("pcm_s16le", stamps=lambda first: first + 33_600)],
        video=media.Video(),
    )
    chirps = [c / 1e6 + 0.7 for c in media.CHIRPS_US if c < 2_900_000]
    for pictures in (True, False):
        result = run(path, pictures=pictures)
        assert result.chirps() == pytest.approx(chirps, abs=1e-3)
        assert result.stream("audio").offset_us == 700_000


def test_raw_aac_is_counted_when_its_rate_changes(media: ModuleType, tmp_path: Path, run: Any) -> None:
    parts = [
        media.write_media(tmp_path / f"{rate}.aac", duration_s=3, audio=[media.Audio(rate_hz=rate)])
        for rate in (44_100, 48_000)
    ]
    (tmp_path / "x.aac").write_bytes(b"".join(part.read_bytes() for part in parts))
    first = run(parts[0])
    alone = [Fraction(c, 10**6) for c in media.CHIRPS_US if c < 2_900_000]
    truth = [float(c + Fraction(1024, 44_100)) for c in alone]
    length = float(-(-(3 * 44_100) // 1024) * 1024 + 1024) / 44_100
    assert first.decoded.duration_us == pytest.approx(length * 1e6, abs=25_000)
    end = first.decoded.duration_us / 1e6
    truth += [end + float(c + Fraction(1024, 48_000)) for c in alone]
    assert run(tmp_path / "x.aac").chirps() == pytest.approx(truth, abs=1e-3)


def test_stamps_in_the_order_of_decoding_come_out_in_that_of_presentation() -> None:
    order = PresentationOrder()
    shown = []
    for stamp in (0, 1, 2, 3, 4):
        order.sent(stamp)
        if stamp >= 2:
            shown.append(order.next())
    assert [*shown, order.next(), order.next(), order.next()] == [0, 1, 2, 3, 4, None]
    order.sent(5)
    order.sent(6)
    order.lost(5)
    assert order.next() == 6


def test_names_in_capitals_and_of_the_trade() -> None:
    assert all(
        is_media_name(n) for n in ("A.MP4", "x.sph", "x.vob", "x.m4b", "x.weba", "x.mka", "x.au", "x.mp2")
    )
    assert not any(is_media_name(n) for n in ("x.json", "x", "mp4", ".mp4"))
