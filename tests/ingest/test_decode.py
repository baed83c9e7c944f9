"""What decode leaves in its folder: channels, segments, pictures, flags, Drops."""

from __future__ import annotations

import gc
import io
import struct
import wave
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pytest

from corpus.ingest.decode import DecodeSource
from corpus.schemas.artifacts import PICTURE_NONE, PICTURE_STALE, ChannelSpan, Decoded, Segment
from corpus.schemas.codec import from_json
from corpus.schemas.errors import MediaError

Shorts = npt.NDArray[np.int16]
FRAME = Fraction(1, 30)


def write_wav(path: Path, samples: Shorts, rate: int = 16_000) -> Path:
    """(samples, channels) or (samples,) as they are."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1 if samples.ndim == 1 else samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.astype("<i2").tobytes())
    return path


def noise(samples: int, channels: int = 1, seed: int = 0) -> Shorts:
    values = np.random.default_rng(seed).integers(-32768, 32768, (samples, channels))
    return values.astype(np.int16)[:, 0] if channels == 1 else values.astype(np.int16)


# --- sound ------------------------------------------------------------------------------------


def test_sound_at_the_right_rate_is_untouched(tmp_path: Path, run: Any) -> None:
    samples = noise(16_000 * 2)
    result = run(write_wav(tmp_path / "x.wav", samples))
    assert np.array_equal(result.sound(), samples)
    assert result.decoded.channels == (None,)
    assert result.decoded.saturated_samples == 0
    assert not result.drops


def test_the_mix_is_the_mean_rounded_half_to_even(tmp_path: Path, run: Any) -> None:
    samples = noise(16_000, channels=2)
    result = run(write_wav(tmp_path / "x.wav", samples))
    total = samples.astype(np.int64).sum(axis=1)
    half = total // 2
    expected = np.where(total % 2 == 0, half, half + half % 2)
    assert np.array_equal(result.sound(), expected)


def test_six_channels_are_averaged_too(tmp_path: Path, run: Any) -> None:
    samples = noise(16_000, channels=6)
    result = run(write_wav(tmp_path / "x.wav", samples))
    exact = [Fraction(int(t), 6) for t in samples.astype(np.int64).sum(axis=1)]
    assert result.sound().tolist() == [round(value) for value in exact]


def test_too_loud_samples_are_cut_and_counted(tmp_path: Path, run: Any) -> None:
    values = np.zeros(16_000, "<f4")
    values[4000:4010] = 1.5
    values[9000] = -1.25
    values[9001] = -1.0
    head = struct.pack("<HHIIHH", 3, 1, 16_000, 64_000, 4, 32)
    data = values.tobytes()
    body = b"WAVEfmt " + struct.pack("<I", 16) + head + b"data" + struct.pack("<I", len(data)) + data
    (tmp_path / "x.wav").write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)
    result = run(tmp_path / "x.wav")
    assert result.decoded.saturated_samples == 11
    assert result.sound()[4000] == 32767 and result.sound()[9000] == result.sound()[9001] == -32768
    assert result.decoded.saturated == (
        ChannelSpan(channel=0, start_us=200_000, stop_us=400_000),
        ChannelSpan(channel=0, start_us=400_000, stop_us=600_000),
    ) or result.decoded.saturated == (ChannelSpan(channel=0, start_us=200_000, stop_us=600_000),)


def test_one_speaker_per_channel(tmp_path: Path, run: Any) -> None:
    samples = noise(16_000, channels=3)
    result = run(write_wav(tmp_path / "x.wav", samples), channels="per_channel")
    assert result.decoded.channels == (None, None, None)
    for channel in range(3):
        assert np.array_equal(result.sound(channel), samples[:, channel])


def test_a_single_channel_of_one_speaker_has_a_name(tmp_path: Path, run: Any) -> None:
    result = run(write_wav(tmp_path / "x.wav", noise(16_000)), channels="per_channel")
    assert result.decoded.channels == ("S1",)
    assert result.decoded.one_speaker_per_channel


def test_more_channels_than_a_clip_holds(tmp_path: Path, run: Any) -> None:
    with pytest.raises(MediaError, match="8 channels"):
        run(write_wav(tmp_path / "x.wav", noise(1600, channels=8)), channels="per_channel")


def two_tracks(media: ModuleType, path: Path) -> Path:
    first = media.Audio("pcm_s16le", track=media.sound(48_000, 3, [500_000]))
    second = media.Audio("pcm_s16le", track=media.sound(48_000, 3, [1_700_000]), disposition="default")
    media.write_media(path, duration_s=3, audio=[first, second], video=media.Video())
    return path


def test_one_speaker_per_stream(media: ModuleType, tmp_path: Path, run: Any) -> None:
    result = run(two_tracks(media, tmp_path / "x.mkv"), channels="per_stream")
    assert result.decoded.channels == (None, None)
    assert result.chirps(0) == pytest.approx([0.5], abs=1e-3)
    assert result.chirps(1) == pytest.approx([1.7], abs=1e-3)


def test_of_several_tracks_the_default_is_used_and_the_other_listed(
    media: ModuleType, tmp_path: Path, run: Any
) -> None:
    result = run(two_tracks(media, tmp_path / "x.mkv"))
    assert result.chirps() == pytest.approx([1.7], abs=1e-3)
    assert [(s.kind, s.index, s.chosen) for s in result.decoded.streams] == [
        ("video", 0, True),
        ("audio", 1, False),
        ("audio", 2, True),
    ]


def test_files_with_one_speaker_each_stand_at_their_offsets(
    media: ModuleType, tmp_path: Path, run: Any
) -> None:
    ann = write_wav(tmp_path / "ann.wav", noise(16_000 * 2, seed=1))
    bob = media.write_media(
        tmp_path / "bob.m4a", duration_s=3, audio=[media.Audio(track=media.sound(48_000, 3, [1_000_000]))]
    )
    film = media.write_media(tmp_path / "film.mp4", duration_s=2, audio=[media.Audio()], video=media.Video())
    files = [
        DecodeSource(film, None, 0),
        DecodeSource(ann, "Ann", -250_000),
        DecodeSource(bob, "Bob", 1_000_000),
    ]
    result = run(files)
    assert result.decoded.channels == ("Ann", "Bob")
    assert np.array_equal(result.sound(0)[: 2 * 16_000], noise(16_000 * 2, seed=1))
    assert not result.sound(0)[2 * 16_000 :].any()
    assert result.chirps(1) == pytest.approx([2.25], abs=1e-3)
    assert result.stream("video").offset_us == 250_000
    assert result.numbers()[:4] == [-1, 4, 10, 16]
    assert result.decoded.duration_us == 4_250_000
    assert [s.file for s in result.decoded.streams] == [0, 0, 1, 2]
    room = next(s for s in result.decoded.streams if s.kind == "audio" and s.file == 0)
    assert not room.chosen and room.oddities[0].code == "room_sound"


def test_only_one_file_gives_the_picture(media: ModuleType, tmp_path: Path, run: Any) -> None:
    files = []
    for name, first in (("a", 0), ("b", 5000)):
        path = media.write_media(
            tmp_path / f"{name}.mp4",
            duration_s=2,
            audio=[media.Audio()],
            video=media.Video(first_number=first),
        )
        files.append(DecodeSource(path, name, 0))
    result = run(files)
    assert result.decoded.channels == ("a", "b")
    assert max(result.numbers()) < 5000
    assert [s.chosen for s in result.decoded.streams if s.kind == "video"] == [True, False]


def test_twenty_four_kilohertz(media: ModuleType, tmp_path: Path, run: Any) -> None:
    path = media.write_media(tmp_path / "x.m4a", audio=[media.Audio()])
    result = run(path, sample_rate_hz=24_000)
    assert result.decoded.sample_rate_hz == 24_000
    assert len(result.sound()) == 30 * 4800
    assert result.chirps() == pytest.approx([c / 1e6 for c in media.CHIRPS_US], abs=2e-4)


# --- time -------------------------------------------------------------------------------------


def test_the_last_partial_window_is_a_drop(tmp_path: Path, run: Any) -> None:
    result = run(write_wav(tmp_path / "x.wav", noise(16_000 + 2000)))
    (drop,) = result.drops
    assert (drop.kind, drop.code, drop.start_us, drop.stop_us) == (
        "trim",
        "last_partial_window",
        1_000_000,
        1_125_000,
    )
    assert "125.000 ms" in drop.reason
    assert result.decoded.segments == (Segment(first_window=0, windows=5),)


def test_shorter_than_a_window(tmp_path: Path, run: Any) -> None:
    result = run(write_wav(tmp_path / "x.wav", noise(3199)))
    assert result.decoded.segments == ()
    assert result.decoded.duration_us == 199_938
    assert len(result.drops) == 1 and len(result.sound()) == 0 and len(result.rows) == 0


def with_gap(media: ModuleType, path: Path, length_s: int, *, sound_goes_on: bool = False) -> Path:
    """Six seconds of film with nothing between 2 s and `length_s` later."""

    def later(first: int) -> int:
        return first if sound_goes_on or first < 2 * 48_000 else first + length_s * 48_000

    times = [n * FRAME + (length_s if n >= 60 else 0) for n in range(180)]
    seconds = 6 + length_s if sound_goes_on else 6
    audio = media.Audio("pcm_s16le", stamps=later, track=media.sound(48_000, seconds), chunk=960)
    media.write_media(path, audio=[audio], video=media.Video(times=times))
    return path


def test_a_long_stretch_of_nothing_is_not_written(media: ModuleType, tmp_path: Path, run: Any) -> None:
    result = run(with_gap(media, tmp_path / "x.mkv", 15))
    # The last picture before the gap is shown from 1.967 s on, for 33 ms.
    assert result.decoded.segments == (
        Segment(first_window=0, windows=10),
        Segment(first_window=85, windows=20),
    )
    assert result.decoded.duration_us == 21_000_000
    gap = next(o for o in result.decoded.oddities if o.code == "unwritten_gap")
    assert (gap.start_us, gap.stop_us) == (2_000_000, 17_000_000)
    assert result.chirps() == pytest.approx([0.3, 1.15, 17.475, 18.31, 19.62], abs=1e-3)
    assert (result.folder / "channel-0.i16").stat().st_size == 30 * 6400
    assert result.numbers() == [6 * k + 5 for k in range(30)]


def test_a_short_stretch_of_nothing_is_written(media: ModuleType, tmp_path: Path, run: Any) -> None:
    result = run(with_gap(media, tmp_path / "x.mkv", 9))
    assert result.decoded.segments == (Segment(first_window=0, windows=75),)
    assert result.decoded.padded == (ChannelSpan(channel=0, start_us=2_000_000, stop_us=11_000_000),)
    flags = result.rows["flags"]
    # Shown last at 1.967 s: a second old at the end of the window that ends at 3 s.
    assert np.array_equal(np.flatnonzero(flags & PICTURE_STALE), np.arange(14, 55))
    assert not (flags & PICTURE_NONE).any()


def test_the_longest_filled_gap_is_a_setting(media: ModuleType, tmp_path: Path, run: Any) -> None:
    path = with_gap(media, tmp_path / "x.mkv", 9)
    assert len(run(path, longest_filled_gap_s=8).decoded.segments) == 2
    assert len(run(path, longest_filled_gap_s=9).decoded.segments) == 1


def test_a_gap_in_the_pictures_alone_is_written(media: ModuleType, tmp_path: Path, run: Any) -> None:
    result = run(with_gap(media, tmp_path / "x.mkv", 15, sound_goes_on=True))
    assert result.decoded.segments == (Segment(first_window=0, windows=105),)
    assert not result.decoded.padded


def test_neither_memory_nor_disk_grows_with_a_gap(media: ModuleType, tmp_path: Path, run: Any) -> None:
    result = run(with_gap(media, tmp_path / "x.mkv", 20 * 86_400))
    assert result.decoded.windows == 30
    assert result.decoded.segments[1].first_window == (2 + 20 * 86_400) * 5
    assert sum(len(data) for data in result.bytes().values()) < 1_000_000


def test_a_restart_goes_on_for_sound_and_pictures_alike(media: ModuleType, tmp_path: Path, run: Any) -> None:
    parts = []
    for number in range(2):
        path = media.write_media(
            tmp_path / f"{number}.ts",
            audio=[media.Audio()],
            video=media.Video(first_number=1000 * number, options={"g": "15"}),
        )
        parts.append(path.read_bytes())
    (tmp_path / "x.ts").write_bytes(b"".join(parts))
    result = run(tmp_path / "x.ts")
    assert "restart" in result.codes()
    assert len(result.decoded.segments) == 1
    chirps = result.chirps()
    truth = [c / 1e6 + 1024 / 48_000 for c in media.CHIRPS_US]
    assert chirps[:5] == pytest.approx(truth, abs=1e-3)
    # The second part begins where the first stood furthest, as its first packet has it. If that is a
    # picture's, the sound begins the encoder's 1024 samples earlier.
    shift = chirps[5] - truth[0]
    stood = 283 * 1024 / 48_000
    assert stood - 1024 / 48_000 - 1e-3 < shift < stood + 1e-3
    assert chirps[5:] == pytest.approx([shift + t for t in truth], abs=1e-3)
    # In every window of the second part the picture fits the sound.
    numbers = result.numbers()
    for window, number in enumerate(numbers):
        if 1000 <= number < 1179:
            shown = shift + 1024 / 48_000 + (number - 1000) / 30
            assert shown < (window + 1) / 5 + 1e-3 and (window + 1) / 5 - 1e-3 < shown + 1 / 30
    assert sum(number >= 1000 for number in numbers) == 30


def test_sound_that_ends_early_is_padded(media: ModuleType, tmp_path: Path, run: Any) -> None:
    audio = media.Audio("pcm_s16le", track=media.sound(48_000, 2.5))
    result = run(media.write_media(tmp_path / "x.mov", duration_s=4, audio=[audio], video=media.Video()))
    assert result.decoded.padded == (ChannelSpan(channel=0, start_us=2_500_000, stop_us=4_000_000),)
    assert not result.sound()[2 * 16_000 + 8000 :].any()


def test_pictures_that_end_early_are_none(media: ModuleType, tmp_path: Path, run: Any) -> None:
    times = [n * FRAME for n in range(66)]
    audio = media.Audio("pcm_s16le", track=media.sound(48_000, 4))
    path = media.write_media(tmp_path / "x.mov", audio=[audio], video=media.Video(times=times))
    result = run(path)
    # The last picture ends at 2.2 s.
    assert result.numbers() == [6 * k + 5 for k in range(11)] + [-1] * 9
    none = result.rows[11]
    assert (none["offset"], none["size"], none["pts_us"], none["flags"]) == (-1, 0, -1, PICTURE_NONE)


# --- pictures ---------------------------------------------------------------------------------


def test_the_pictures_are_a_playable_film(media: ModuleType, tmp_path: Path, run: Any) -> None:
    result = run(media.write_media(tmp_path / "x.mp4", video=media.Video(), audio=[media.Audio()]))
    with av.open(io.BytesIO((result.folder / "pictures.mjpeg").read_bytes()), format="mjpeg") as film:
        frames = list(film.decode(video=0))
    assert [(f.width, f.height) for f in frames] == [(320, 200)] * 30
    assert result.rows["offset"].tolist() == np.cumsum([0, *result.rows["size"][:-1]]).tolist()
    assert result.rows["pts_us"].tolist() == [round((6 * k + 5) * 1e6 / 30) for k in range(30)]
    assert b"Lavc" not in result.jpeg(0)


def rotated(data: bytes, matrix: tuple[int, int, int, int]) -> bytes:
    """The film with another display matrix in its first track header."""
    out = bytearray(data)
    at = data.index(b"tkhd") + 4 + 40
    a, b, c, d = (value << 16 for value in matrix)
    out[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    return bytes(out)


@pytest.mark.parametrize(
    "matrix, turns",
    [((0, 1, -1, 0), 1), ((-1, 0, 0, -1), 2), ((0, -1, 1, 0), 3), ((1, 0, 0, 1), 0)],
)
def test_rotation_is_applied(
    matrix: tuple[int, int, int, int], turns: int, media: ModuleType, tmp_path: Path, run: Any
) -> None:
    """A quarter turn clockwise is undone by turning the picture back counterclockwise."""
    path = media.write_media(tmp_path / "x.mp4", duration_s=1, video=media.Video(width=240, height=200))
    path.write_bytes(rotated(path.read_bytes(), matrix))
    result = run(path, picture_width=240, picture_height=240)
    luma = media.jpeg_luma(result.jpeg(2))
    shown = luma[:, 20:220] if turns % 2 else luma[20:220]
    assert media.read_number(np.rot90(shown, turns)) == 17
    stream = result.stream("video")
    assert stream.rotation_degrees == 90 * turns
    assert (stream.width, stream.height) == ((200, 240) if turns % 2 else (240, 200))
    assert ("rotated" in result.codes()) == bool(turns)


def test_mirrored(media: ModuleType, tmp_path: Path, run: Any) -> None:
    path = media.write_media(tmp_path / "x.mp4", duration_s=1, video=media.Video(width=240, height=200))
    path.write_bytes(rotated(path.read_bytes(), (-1, 0, 0, 1)))
    result = run(path, picture_width=240, picture_height=200)
    assert media.read_number(media.jpeg_luma(result.jpeg(2))[:, ::-1]) == 17


@pytest.mark.parametrize(
    "options",
    [
        {"width": 321, "height": 241, "pix_fmt": "yuv444p"},
        {"pix_fmt": "yuv420p10le", "codec": "libx265"},
        {"pix_fmt": "yuv422p"},
        {"width": 64, "height": 48},
        {"width": 1280, "height": 720},
    ],
    ids=["odd size", "10 bit", "422", "tiny", "hd"],
)
def test_every_size_and_depth(options: dict[str, Any], media: ModuleType, tmp_path: Path, run: Any) -> None:
    path = media.write_media(tmp_path / "x.mkv", duration_s=2, video=media.Video(**options))
    shape = options.get("width", 320), options.get("height", 240)
    assert run(path).numbers(shape) == [6 * k + 5 for k in range(10)]


def test_pixels_that_are_not_square(media: ModuleType, tmp_path: Path, run: Any) -> None:
    video = media.Video(options={"aspect": "16:9"}, width=240, height=240)
    video.options = {"x264-params": "sar=16/9"}
    result = run(media.write_media(tmp_path / "x.mkv", duration_s=1, video=video))
    assert (result.stream("video").width, result.stream("video").height) == (427, 240)
    assert result.numbers((240, 240), Fraction(16, 9)) == [5, 11, 17, 23, 29]


def test_full_range_white_and_black(media: ModuleType, tmp_path: Path, run: Any) -> None:
    result = run(media.write_media(tmp_path / "x.mkv", duration_s=1, video=media.Video()))
    luma = media.jpeg_luma(result.jpeg(3))[:, 27:293]
    assert luma.min() <= 8 and luma.max() >= 247


def test_a_size_that_changes_midway(media: ModuleType, tmp_path: Path, run: Any) -> None:
    parts = [
        media.write_media(
            tmp_path / f"{n}.ts",
            duration_s=2,
            video=media.Video(width=w, height=h, times=[n * 2 + i * FRAME for i in range(60)]),
            options={"mpegts_copyts": "1"},
        ).read_bytes()
        for n, (w, h) in enumerate(((320, 240), (240, 320)))
    ]
    (tmp_path / "x.ts").write_bytes(b"".join(parts))
    result = run(tmp_path / "x.ts")
    first, second = media.jpeg_luma(result.jpeg(3)), media.jpeg_luma(result.jpeg(16))
    assert first[100, 30] > 60 and first[100, 10] < 30
    assert second[100, 90] > 60 and second[100, 60] < 30


def test_cover_art_is_no_video(media: ModuleType, tmp_path: Path, run: Any) -> None:
    path = media.write_media(tmp_path / "x.mp3", audio=[media.Audio("libmp3lame", chunk=1152)])
    path.write_bytes(media.id3_with_cover(200, 200) + path.read_bytes())
    result = run(path)
    assert (result.decoded.picture_width, result.decoded.picture_height) == (0, 0)
    assert (result.rows["flags"] == PICTURE_NONE).all()
    assert "cover_art" in result.codes()
    assert result.chirps() == pytest.approx([c / 1e6 for c in media.CHIRPS_US], abs=1e-3)


def test_pictures_can_be_left_out(media: ModuleType, tmp_path: Path, run: Any) -> None:
    path = media.write_media(tmp_path / "x.mp4", duration_s=2, audio=[media.Audio()], video=media.Video())
    result = run(path, pictures=False)
    assert result.decoded.picture_width == 0
    assert [s.chosen for s in result.decoded.streams] == [False, True]


# --- observers, progress, bytes ---------------------------------------------------------------


def test_observers_see_every_frame_in_order(media: ModuleType, tmp_path: Path, run: Any) -> None:
    seen: list[int] = []
    options = {"preset": "veryfast", "bf": "3"}
    path = media.write_media(
        tmp_path / "x.mp4", duration_s=2, audio=[media.Audio()], video=media.Video(options=options)
    )
    run(path, observers=[lambda frame, time_us: seen.append(time_us)])
    assert seen == [round(n * 1_000_000 / 30) for n in range(60)]


def test_no_frame_outlives_its_turn(media: ModuleType, tmp_path: Path, run: Any) -> None:
    """A frame in a reference cycle stays until the collector comes: hundreds of MB at 1080 lines."""
    path = media.write_media(tmp_path / "x.mp4", audio=[media.Audio()], video=media.Video())
    gc.collect()
    gc.disable()
    try:
        run(path)
        assert sum(type(o) is av.VideoFrame for o in gc.get_objects()) <= 4
    finally:
        gc.enable()


def test_progress_tells_the_time_decoded(media: ModuleType, tmp_path: Path, run: Any) -> None:
    told: list[int] = []
    run(media.write_media(tmp_path / "x.wav", audio=[media.Audio("pcm_s16le")]), progress=told.append)
    assert told == sorted(told) and 4_000_000 < told[-1] <= 6_000_000


@pytest.mark.parametrize("suffix", ["mp4", "ts", "webm"])
def test_the_same_file_gives_the_same_bytes(suffix: str, media: ModuleType, tmp_path: Path, run: Any) -> None:
    sound = media.Audio("libopus", chunk=960) if suffix == "webm" else media.Audio(rate_hz=44_100, channels=2)
    video = media.Video("libvpx" if suffix == "webm" else "libx264")
    path = media.write_media(tmp_path / f"x.{suffix}", audio=[sound], video=video)
    first = run(path).bytes()
    assert first == run(path).bytes()
    assert set(first) == {"channel-0.i16", "decoded.json", "pictures.mjpeg", "pictures.npy"}


def test_decoded_json_says_what_decode_returns(media: ModuleType, tmp_path: Path, run: Any) -> None:
    result = run(media.write_media(tmp_path / "x.ts", audio=[media.Audio()], video=media.Video()))
    assert from_json(Decoded, (result.folder / "decoded.json").read_text()) == result.decoded
