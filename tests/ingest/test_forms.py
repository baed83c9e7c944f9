"""Forms, heads and indexes as recorders leave them: the sound is where it was, nothing is said wrongly."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from corpus.schemas.errors import MediaError

SECONDS = 4
MP2 = 481 / 48_000
LAME = 1105 / 44_100
WRAP_S = 2**33 / 90_000


def as_it_is(data: bytes) -> bytes:
    return data


def sizes(value: bytes) -> Callable[[bytes], bytes]:
    """A wav whose writer could not go back to fill its sizes in."""

    def change(data: bytes) -> bytes:
        at = data.index(b"data")
        return data[:4] + value + data[8 : at + 4] + value + data[at + 8 :]

    return change


def flac_total(samples: int) -> Callable[[bytes], bytes]:
    def change(data: bytes) -> bytes:
        return data[:21] + bytes([data[21] & 0xF0]) + struct.pack(">I", samples) + data[26:]

    return change


def avi_index(keep: float, *, zeroed: bool = False) -> Callable[[bytes], bytes]:
    """The index at the end lost, cut or overwritten, as where recording broke off."""

    def change(data: bytes) -> bytes:
        at = data.rindex(b"idx1")
        if zeroed:
            return data[: at + 8] + bytes(len(data) - at - 8)
        size = int((len(data) - at - 8) * keep) // 16 * 16
        return data[: at + 4] + struct.pack("<I", size) + data[at + 8 : at + 8 + size] if keep else data[:at]

    return change


def junk_before(data: bytes) -> bytes:
    return b"\0junk" * 700 + data


@dataclass
class Form:
    suffix: str
    sound: str = "pcm_s16le"
    rate_hz: int = 48_000
    channels: int = 1
    pictures: str | None = None
    lead_s: float = 0.0
    """What its encoder puts in front, where the form cannot tell of it."""
    options: dict[str, str] = field(default_factory=dict)
    change: Callable[[bytes], bytes] = as_it_is
    after_s: float = 0.0
    """Where its stamps begin."""
    limit_s: float = 1e-3


FORMS = {
    "8 bits": Form("wav", "pcm_u8", 16_000),
    "24 bits": Form("wav", "pcm_s24le"),
    "32 bits": Form("wav", "pcm_s32le"),
    "floating point": Form("wav", "pcm_f32le"),
    "double": Form("wav", "pcm_f64le", 44_100),
    "A-law": Form("wav", "pcm_alaw", 8_000),
    "mu-law": Form("wav", "pcm_mulaw", 8_000),
    "ADPCM": Form("wav", "adpcm_ima_wav", 44_100),
    "5.1": Form("wav", channels=6),
    "RF64": Form("wav", options={"rf64": "always"}),
    "W64": Form("w64"),
    "CAF": Form("caf", "pcm_s24be"),
    "AIFF": Form("aiff", "pcm_s24be"),
    "AIFF-C": Form("aifc", "pcm_alaw", 8_000),
    "Apple lossless": Form("m4a", "alac", 44_100),
    "32 kHz in m4a": Form("m4a", "aac", 32_000),
    "floating point in mov": Form("mov", "pcm_f32le"),
    "wav with sizes of 0": Form("wav", change=sizes(bytes(4))),
    "wav with sizes of -1": Form("wav", change=sizes(b"\xff" * 4)),
    "FLAC that tells no length": Form("flac", "flac", change=flac_total(0)),
    "FLAC that tells a wrong length": Form("flac", "flac", change=flac_total(48_000)),
    "mp3 without a head": Form("mp3", "libmp3lame", 44_100, lead_s=LAME, options={"write_xing": "0"}),
    "junk before ADTS": Form("aac", "aac", lead_s=1024 / 48_000, change=junk_before, limit_s=0.022),
    "AVI without an index": Form("avi", pictures="mpeg4", change=avi_index(0)),
    "AVI with half an index": Form("avi", pictures="mpeg4", change=avi_index(0.5)),
    "AVI with an index of zeros": Form("avi", pictures="mpeg4", change=avi_index(1, zeroed=True)),
    "stamps that wrap in TS": Form("ts", "mp2", pictures="mpeg2video", lead_s=MP2, after_s=WRAP_S - 2),
    "Ogg from the middle of a stream": Form("ogg", "libopus", after_s=100),
    "fragments": Form(
        "mp4",
        "aac",
        pictures="libx264",
        options={"movflags": "frag_keyframe+delay_moov+default_base_moof"},
    ),
    "webm of a live recorder": Form("webm", "libopus", pictures="libvpx", options={"live": "1"}),
}


@pytest.mark.parametrize("name", FORMS)
def test_sound_is_where_it_was(name: str, media: ModuleType, tmp_path: Path, run: Any) -> None:
    form = FORMS[name]
    chunk = {"libopus": 960, "libmp3lame": 1152, "mp2": 1152, "flac": 4608, "alac": 4096}.get(
        form.sound, 1024
    )
    shift = round(form.after_s * form.rate_hz)
    audio = media.Audio(
        form.sound,
        rate_hz=form.rate_hz,
        channels=form.channels,
        chunk=chunk,
        stamps=lambda first: first + shift,
    )
    video = None
    if form.pictures:
        times = [n / media.Video().rate + shift / media.Fraction(form.rate_hz) for n in range(SECONDS * 30)]
        video = media.Video(form.pictures, times=times if shift else None)
    path = tmp_path / f"x.{form.suffix}"
    media.write_media(
        path, duration_s=SECONDS, audio=[audio], video=video, options={**form.options, "mpegts_copyts": "1"}
    )
    path.write_bytes(form.change(path.read_bytes()))
    result = run(path)
    truth = [c / 1e6 + form.lead_s for c in media.CHIRPS_US if c < 3_800_000]
    assert result.chirps() == pytest.approx(truth, abs=form.limit_s)
    assert {d.code for d in result.drops} <= {"last_partial_window"}
    assert not result.codes() & {"truncated", "hole", "restart"}
    assert result.decoded.duration_us == pytest.approx(SECONDS * 1e6, abs=60_000)


@pytest.mark.parametrize(
    ("suffix", "codec", "chunk"),
    [
        ("wav", "pcm_s16le", 1024),
        ("aiff", "pcm_s16be", 1024),
        ("w64", "pcm_s16le", 1024),
        ("mp4", "aac", 1024),
        ("ogg", "libopus", 960),
        ("avi", "pcm_s16le", 1024),
    ],
)
def test_a_tag_in_front_changes_nothing(
    suffix: str, codec: str, chunk: int, media: ModuleType, tmp_path: Path, run: Any
) -> None:
    path = tmp_path / f"x.{suffix}"
    media.write_media(path, duration_s=2, audio=[media.Audio(codec, chunk=chunk)])
    bare = run(path)
    data, tag = path.read_bytes(), media.id3_with_cover(64, 48)
    footed = tag[:5] + b"\x10" + tag[6:] + b"3DI" + tag[3:5] + b"\x10" + tag[6:10]
    for front in (tag, footed, tag + footed):
        path.write_bytes(front + data)
        result = run(path)
        assert result.bytes() == bare.bytes()
        # What a cut file lacks is counted from where it begins.
        path.write_bytes(front + data[:-20_000])
        assert suffix not in ("wav", "aiff", "w64") or "truncated" in run(path).codes()


def test_a_tag_and_nothing_behind_it_is_refused(media: ModuleType, tmp_path: Path, run: Any) -> None:
    tag = media.id3_with_cover(64, 48)
    for data in (tag, tag[:40], b"ID3\x04\0\0\x7f\x7f\x7f\x7f" + bytes(100), (tag[:6] + bytes(4)) * 50):
        path = tmp_path / "x.wav"
        path.write_bytes(data)
        with pytest.raises(MediaError):
            run(path)
