"""Edit lists of QuickTime and MP4: every part of a film stands where its list puts it."""

from __future__ import annotations

import struct
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from corpus.ingest.decode import DecodeSource
from corpus.ingest.edits import Film, film_of
from corpus.ingest.probe import probe_media
from corpus.schemas.errors import MediaError

Entries = Sequence[tuple[float, float | None]]
"""Seconds and where in the media they begin; None is empty."""


def boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        yield data[at + 4 : at + 8], data[at + 8 : at + length]
        at += length


def box(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", len(content) + 8, name) + content


def edited(data: bytes, entries: Entries, sound: Entries | None = None) -> bytes:
    """The film under another edit list, that of its sound if it has one of its own; its `moov` comes last."""

    def lines(kind: bytes, movie_hz: int, media_hz: int) -> bytes:
        rows = [
            struct.pack(">IiI", round(s * movie_hz), -1 if at is None else round(at * media_hz), 0x10000)
            for s, at in (sound if kind == b"soun" and sound is not None else entries)
        ]
        return struct.pack(">II", 0, len(rows)) + b"".join(rows)

    return relisted(data, lines)


def relisted(data: bytes, lines: Any) -> bytes:
    """The film with what `lines(kind, movie_hz, media_hz)` gives as each `elst`; None for none."""
    return b"".join(box(k, _moov(v, lines) if k == b"moov" else v) for k, v in boxes(data))


def _moov(content: bytes, lines: Any) -> bytes:
    movie_hz = struct.unpack(">I", dict(boxes(content))[b"mvhd"][12:16])[0]
    return b"".join(box(k, _track(v, movie_hz, lines) if k == b"trak" else v) for k, v in boxes(content))


def _track(content: bytes, movie_hz: int, lines: Any) -> bytes:
    inside = dict(boxes(content))
    media = dict(boxes(inside[b"mdia"]))
    made = lines(media[b"hdlr"][8:12], movie_hz, struct.unpack(">I", media[b"mdhd"][12:16])[0])
    edts = b"" if made is None else box(b"edts", box(b"elst", made))
    rest = ((k, v) for k, v in boxes(content) if k != b"edts")
    return b"".join((edts if k == b"mdia" else b"") + box(k, v) for k, v in rest)


Sound = npt.NDArray[np.int16]
UNIT = 480_000
"""Of the reference, in a second: samples, pictures and the film's ticks are whole ones."""


@dataclass(frozen=True)
class Truth:
    """What a film shows, by its definition: each moment on its own, from the lists alone."""

    sound: Entries
    pictures: Entries
    frames_s: Sequence[Fraction]
    """When each picture of the media begins; the last entry is their end."""

    @staticmethod
    def media_at(entries: Entries, film: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """What of the media is shown at each moment of the film, in units; -1 for nothing."""
        shown, begin = np.full(len(film), -1), 0
        for length, media in entries:
            stop = begin + round(length * UNIT)
            here = (begin <= film) & (film < stop)
            shown[here] = -1 if media is None else film[here] - begin + round(media * UNIT)
            begin = stop
        return shown

    @property
    def zero(self) -> int:
        """When the first of both is shown."""
        moments = np.arange(0, UNIT, 30)
        return int(min(moments[self.media_at(e, moments) >= 0][0] for e in (self.sound, self.pictures)))

    def sound_of(self, media: Sound, samples: int) -> Sound:
        """The sound at 16,000 Hz of media that has as many: each sample by the definition of the list."""
        moments = self.zero + np.arange(samples) * (UNIT // 16_000)
        at = self.media_at(self.sound, moments) // (UNIT // 16_000)
        heard: Sound = np.array([int(media[n]) if 0 <= n < len(media) else 0 for n in at.tolist()], np.int16)
        return heard

    def seen(self, windows: int) -> list[int]:
        """The number that each window shows: what stood there last before its end, -1 where all is over."""
        begins = [round(f * UNIT) for f in self.frames_s]
        shown = []
        for window in range(windows):
            # A picture may have ended before the window's end: look back to its start.
            moments = self.zero + np.arange(window * UNIT // 5, (window + 1) * UNIT // 5, 10)[::-1]
            at = self.media_at(self.pictures, moments)
            there = at[(begins[0] <= at) & (at < begins[-1])]
            shown.append(max(n for n, f in enumerate(begins) if f <= there[0]) if len(there) else -1)
        return shown


@pytest.fixture(scope="module")
def original(media: ModuleType) -> Sound:
    """The generator's chirps, in noise so that no two moments are alike."""
    noise = np.random.default_rng(1).integers(-300, 300, 80_000)
    sound: Sound = (media.sound(16_000, 5) * 32_000 + noise).astype(np.int16)
    return sound


@pytest.fixture(scope="module")
def film(original: Sound, media: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("film") / "x.mov"
    audio = media.Audio("pcm_s16le", rate_hz=16_000, track=original / 32768)
    media.write_media(path, duration_s=5, audio=[audio], video=media.Video("mjpeg", pix_fmt="yuvj420p"))
    return Path(path).read_bytes()


CHIRPS_S = [0.3, 1.15, 2.475, 3.31, 4.62]
FRAMES_S = [Fraction(n, 30) for n in range(151)]


@pytest.mark.parametrize(
    ("entries", "chirps"),
    [
        ([(5, 0)], [0.3, 1.15, 2.475, 3.31, 4.62]),
        ([(4, 1)], [0.15, 1.475, 2.31, 3.62]),
        # Everything waits alike, so that zero is where it begins.
        ([(0.5, None), (5, 0)], [0.3, 1.15, 2.475, 3.31, 4.62]),
    ],
)
def test_cuts_and_delays_are_exact(
    entries: Entries, chirps: list[float], film: bytes, tmp_path: Path, run: Any
) -> None:
    path = tmp_path / "x.mov"
    path.write_bytes(edited(film, entries))
    result = run(path)
    assert result.chirps() == pytest.approx(chirps, abs=1e-3)
    assert not result.codes() & {"edits", "hole"}
    assert {d.code for d in result.drops} <= {"last_partial_window"}


LISTS: dict[str, Entries] = {
    "joined": [(2, 0), (2, 3)],
    "three parts": [(0.611, 0.21), (0.7, 2.123), (0.9, 4.05)],
    "empty": [(1.9, 0.1), (1, None), (2, 2.25)],
    "empty at the end": [(4, 0), (1, None)],
    "delayed": [(0.5, None), (1, 0.25), (0.3, None), (1.5, 3.2)],
    "twice": [(1.5, 0.2), (1.5, 0.2)],
    "in another order": [(2, 3), (1, 1), (2, 0), (1.2, 2.3)],
    "overlapping": [(2, 0), (2, 1)],
    "short": [(0.04, 0.3 + n * 0.05) for n in range(40)],
    "beyond its media": [(1, 0), (9, 3), (1, 0.2)],
    "split for nothing": [(0.35, 0.1), (1.05, 0.45), (2.4, 1.5)],
}


@pytest.mark.parametrize("name", LISTS)
def test_every_part_stands_where_its_list_puts_it(
    name: str, film: bytes, original: Sound, tmp_path: Path, run: Any
) -> None:
    path, entries = tmp_path / "x.mov", LISTS[name]
    path.write_bytes(edited(film, entries))
    check(run(path), Truth(entries, entries, FRAMES_S), original)


def check(result: Any, truth: Truth, original: Sound) -> None:
    """Sound to the sample, pictures to the window."""
    assert "edits" in result.codes()
    assert [d.code for d in result.drops if d.kind == "fault"] == []
    sound = result.sound()
    wrong = np.flatnonzero(sound != truth.sound_of(original, len(sound)))
    assert not len(wrong), (len(wrong), wrong[0] / 16_000)
    assert result.numbers() == truth.seen(len(result.numbers()))


def test_sound_and_pictures_have_lists_of_their_own(
    film: bytes, original: Sound, tmp_path: Path, run: Any
) -> None:
    path = tmp_path / "x.mov"
    sound: Entries = [(0.4, None), (1.1, 2.2), (0.25, None), (2, 0)]
    pictures: Entries = [(0.2, None), (1, 1), (0.6, None), (2, 0.5), (1, 3)]
    path.write_bytes(edited(film, pictures, sound))
    check(run(path), Truth(sound, pictures, FRAMES_S), original)


@pytest.mark.parametrize("plain", ["sound", "pictures"])
def test_a_track_without_joins_beside_one_that_has_some(
    plain: str, film: bytes, original: Sound, tmp_path: Path, run: Any
) -> None:
    path = tmp_path / "x.mov"
    joined: Entries = [(1, 2), (1.5, 0)]
    sound, pictures = ([(4.5, 0.25)], joined) if plain == "sound" else (joined, [(4.5, 0.25)])
    path.write_bytes(edited(film, pictures, sound))
    check(run(path), Truth(sound, pictures, FRAMES_S), original)


def test_a_track_without_a_list_is_its_media(film: bytes, original: Sound, tmp_path: Path, run: Any) -> None:
    path = tmp_path / "x.mov"
    row = struct.pack(">IIIiI", 0, 2, 1000, 0, 0x10000) + struct.pack(">IiI", 1000, 16_000 * 3, 0x10000)
    path.write_bytes(relisted(film, lambda kind, *_: row if kind == b"soun" else None))
    check(run(path), Truth([(1, 0), (1, 3)], [(5, 0)], FRAMES_S), original)


@pytest.mark.parametrize(
    ("codec", "chunk", "primed"),
    [
        ("aac", 1024, 1024),
        ("libopus", 960, 312),
        ("libmp3lame", 1152, 1105),
        ("flac", 4608, 0),
        ("alac", 4096, 0),
    ],
)
def test_what_a_codec_puts_in_front_is_media(
    codec: str, chunk: int, primed: int, media: ModuleType, tmp_path: Path, run: Any
) -> None:
    """Packets that no edit shows are decoded for those behind them; b frames for the pictures'."""
    path = tmp_path / "x.mp4"
    video = media.Video(options={"bf": "3", "g": "48"})
    media.write_media(path, duration_s=5, audio=[media.Audio(codec, chunk=chunk)], video=video)
    shift = primed / 48_000
    entries: Entries = [(1.5, 2.1), (0.5, None), (2.1, 0.2), (1, 3.1)]
    sound = [(s, None if at is None else at + shift) for s, at in entries]
    # libx264's pictures stand two frames late in the media.
    pictures = [(s, None if at is None else at + 1 / 15) for s, at in entries]
    path.write_bytes(edited(path.read_bytes(), pictures, sound))
    result = run(path)
    truth = Truth(sound, pictures, [f + Fraction(1, 15) for f in FRAMES_S])
    # 2.475, 3.31; 0.3, 1.15; 3.31 of the media
    assert result.chirps() == pytest.approx([0.375, 1.21, 2.1, 2.95, 4.31], abs=1e-3)
    assert result.numbers() == truth.seen(len(result.numbers()))


def test_the_list_of_a_packed_head_is_read(film: bytes) -> None:
    head = box(b"moov", dict(boxes(edited(film, [(2, 0), (2, 3)])))[b"moov"])
    packed = box(b"cmvd", struct.pack(">I", len(head)) + zlib.compress(head))
    data = box(b"moov", box(b"cmov", box(b"dcom", b"zlib") + packed))
    assert film_of(lambda at, n: data[at : at + n]) == film_of(lambda at, n: head[at : at + n])
    assert film_of(lambda at, n: data[at : at + n]).joined
    bomb = box(b"moov", box(b"cmov", box(b"cmvd", b"\0\0\0\0" + zlib.compress(bytes(65 << 20), 1))))
    assert film_of(lambda at, n: bomb[at : at + n]) == Film()


def test_of_several_speakers_each_has_a_list(media: ModuleType, tmp_path: Path, run: Any) -> None:
    path = tmp_path / "x.mov"
    tracks = [media.Audio("pcm_s16le", track=media.sound(48_000, 4, [at])) for at in (500_000, 2_500_000)]
    media.write_media(path, duration_s=4, audio=tracks)
    each: list[Entries] = [[(1, 2), (1, 0.25)], [(0.5, None), (0.75, 2.25), (1, 0), (0.6, 2.4)]]
    lists = iter(each)

    def lines(kind: bytes, movie_hz: int, media_hz: int) -> bytes:
        rows = [
            struct.pack(">IiI", round(s * movie_hz), -1 if at is None else round(at * media_hz), 0x10000)
            for s, at in next(lists)
        ]
        return struct.pack(">II", 0, len(rows)) + b"".join(rows)

    path.write_bytes(relisted(path.read_bytes(), lines))
    result = run(path, channels="per_stream")
    assert [d for d in result.drops if d.kind == "fault"] == []
    assert result.chirps(0) == pytest.approx([1.25], abs=1e-4)
    assert result.chirps(1) == pytest.approx([0.75, 2.35], abs=1e-4)
    # One of them alone: the other is a second track of the same time, by the film's clock.
    assert {d.code for d in run(path).drops} <= {"second_track", "last_partial_window"}


def test_a_film_is_cut_off_where_its_media_is(media: ModuleType, tmp_path: Path, run: Any) -> None:
    """The end of the media may be the beginning of the film."""
    path = tmp_path / "x.mov"
    media.write_media(path, duration_s=5, audio=[media.Audio("pcm_s16le", rate_hz=16_000)])
    film = edited(path.read_bytes(), [(2, 3), (0.9, 0.2), (1, 1)])
    path.write_bytes(film)
    assert "truncated" not in run(path).codes()
    # The head comes first, as in films for the net, and the sound's places move with it.
    parts = dict(boxes(film))
    shift, at = len(parts[b"moov"]) + 8, parts[b"moov"].index(b"stco") + 8
    head = bytearray(parts[b"moov"])
    for place in range(at + 4, at + 4 + 4 * int.from_bytes(head[at - 4 + 4 : at + 4], "big"), 4):
        head[place : place + 4] = struct.pack(">I", int.from_bytes(head[place : place + 4], "big") + shift)
    first = next(boxes(film))
    rest = b"".join(box(k, v) for k, v in boxes(film) if k not in (b"moov", b"ftyp"))
    path.write_bytes(box(*first) + box(b"moov", bytes(head)) + rest)
    assert run(path).chirps() == pytest.approx([0.31, 1.62, 2.1, 3.05], abs=1e-3)
    path.write_bytes((box(*first) + box(b"moov", bytes(head)) + rest)[:-60_000])
    assert "truncated" in run(path).codes()


def test_participants_keep_their_leads(film: bytes, media: ModuleType, tmp_path: Path, run: Any) -> None:
    one, two = tmp_path / "a.mov", tmp_path / "b.wav"
    # Pictures from zero, sound 0.75 s later: that is the lead of the sound of this file.
    one.write_bytes(edited(film, [(2, 1), (1, 3)], [(0.75, None), (1, 1), (1, 0.25)]))
    media.write_media(two, duration_s=5, audio=[media.Audio("pcm_s16le")])
    sources = [DecodeSource(one, "ann", 200_000), DecodeSource(two, "bob")]
    result = run(sources)
    assert result.decoded.channels == ("ann", "bob")
    assert result.chirps(0) == pytest.approx([0.2 + 0.75 + at for at in (0.15, 1.05, 1.9)], abs=1e-4)
    assert result.chirps(1) == pytest.approx(CHIRPS_S, abs=1e-4)


def test_a_probe_tells_the_films_times(film: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.mov"
    path.write_bytes(edited(film, [(0.2, None), (2, 3), (1, 0)], [(0.5, None), (2, 3), (1, 0)]))
    info = probe_media(path)
    assert {s.kind: s.offset_us for s in info.streams} == {"video": 0, "audio": 300_000}
    assert info.duration_us == 3_500_000


def test_observers_see_the_films_pictures(film: bytes, tmp_path: Path, run: Any) -> None:
    from corpus.ingest.watch import watch
    from corpus.schemas.settings import IngestSettings

    path = tmp_path / "x.mov"
    path.write_bytes(edited(film, [(0.2, 3), (0.5, None), (0.1, 0), (0.1, 0)]))
    decoded: list[int] = []
    run(path, observers=[lambda frame, time_us: decoded.append(time_us)])
    watched: list[int] = []
    watch([DecodeSource(path)], IngestSettings(), [lambda frame, time_us: watched.append(time_us)])
    starts = [*range(0, 6), *range(21, 24), *range(24, 27)]
    assert watched == decoded == [round(n * 1e6 / 30) for n in starts]


@pytest.mark.parametrize(("entries", "said"), [([(0, 1)], "5.0"), ([(0, 1), (0, 2)], "5.0")])
def test_edits_without_length_hide_nothing_in_silence(
    entries: Entries, said: str, film: bytes, tmp_path: Path, run: Any
) -> None:
    path = tmp_path / "x.mov"
    path.write_bytes(edited(film, entries, [(2, 0), (2, 3)] if len(entries) > 1 else None))
    (drop,) = [d for d in run(path).drops if d.kind == "fault"]
    assert drop.code == "hidden_by_edits" and said in drop.reason


def test_in_fragments_an_edit_without_length_lasts(film: bytes) -> None:
    whole = edited(film, [(0, 1)])
    moov = whole[whole.rindex(b"moov") - 4 :]
    assert film_of(lambda at, n: moov[at : at + n]).hidden_s == pytest.approx(5, abs=0.05)
    pieces = dict(boxes(moov))[b"moov"] + box(b"mvex", b"")
    fragmented = box(b"moov", pieces)
    found = film_of(lambda at, n: fragmented[at : at + n])
    assert found.hidden_s == 0 and not found.joined


def test_a_film_in_fragments_is_joined(media: ModuleType, tmp_path: Path, run: Any) -> None:
    """Its last edit has no length: it lasts as long as there are fragments."""
    path = tmp_path / "x.mp4"
    flags = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
    media.write_media(path, duration_s=5, audio=[media.Audio()], video=media.Video(), options=flags)

    def lines(kind: bytes, movie_hz: int, media_hz: int) -> bytes:
        primed = 1024 if kind == b"soun" else 0
        rows = struct.pack(">IiI", movie_hz, media_hz // 4 + primed, 0x10000)
        return struct.pack(">II", 0, 2) + rows + struct.pack(">IiI", 0, 2 * media_hz + primed, 0x10000)

    path.write_bytes(relisted(path.read_bytes(), lines))
    result = run(path)
    assert result.chirps() == pytest.approx([0.05, 0.9, 1.475, 2.31, 3.62], abs=1e-3)
    assert not result.codes() & {"truncated", "hole", "drift"}
    assert [d for d in result.drops if d.kind == "fault"] == []


@pytest.mark.parametrize("joined", [False, True])
def test_another_speed_is_a_fault(joined: bool, film: bytes, tmp_path: Path, run: Any) -> None:
    path = tmp_path / "x.mov"

    def lines(kind: bytes, movie_hz: int, media_hz: int) -> bytes:
        rows = struct.pack(">IiI", 2 * movie_hz, 0, 0x8000)
        if joined:
            rows += struct.pack(">IiI", movie_hz, 0, 0) + struct.pack(
                ">IiI", 2 * movie_hz, 3 * media_hz, 0x10000
            )
        return struct.pack(">II", 0, 3 if joined else 1) + rows

    path.write_bytes(relisted(film, lines))
    result = run(path)
    (drop,) = [d for d in result.drops if d.kind == "fault"]
    assert drop.code == "edit_speed"
    assert ("3.000 s" if joined else "2.000 s") in drop.reason
    # Left empty, or as libav shows a plain list.
    assert result.chirps() == pytest.approx([0.31, 1.62] if joined else [0.3, 1.15], abs=1e-3)


def hostile() -> dict[str, bytes]:
    """Contents of `elst`, for a film of 5 s at 1000 ticks a second and sound at 16,000."""
    rng = np.random.default_rng(5)

    def short(rows: Sequence[tuple[int, int]], speed: int = 0x10000) -> bytes:
        return struct.pack(">II", 0, len(rows)) + b"".join(struct.pack(">IiI", *r, speed) for r in rows)

    def wide(rows: Sequence[tuple[int, int]]) -> bytes:
        return struct.pack(">II", 1 << 24, len(rows)) + b"".join(
            struct.pack(">QqI", *row, 0x10000) for row in rows
        )

    places: npt.NDArray[np.int64] = rng.integers(0, 80_000, 10_000)
    return {
        "forward": short([(1, n * 80) for n in range(1000)]),
        "backward": short([(1, 80_000 - n * 20) for n in range(1000)]),
        "at random": short([(1, int(at)) for at in places]),
        "slipping": short([(1, 40_000 - n * 9) for n in range(1000)]),
        "the same": short([(1, 1000)] * 1000),
        "empty": short([(1, -1) if n % 2 else (1, n * 20) for n in range(1000)]),
        "no lengths": short([(0, n * 20) for n in range(1000)]),
        "no speed": short([(100, n * 20) for n in range(50)], speed=0),
        "longest": wide([(1000, 0), (2**64 - 1, 16_000), (1000, 32_000)]),
        "latest": wide([(1000, 0), (1000, 2**63 - 1), (1000, 32_000)]),
        "a year of nothing": wide([(1000, 0), (365 * 86_400_000, -1), (1000, 32_000)]),
        "a week of nothing": wide([(1000, 0), (7 * 86_400_000, -1), (1000, 32_000)]),
        "negative": wide([(1000, 0), (1000, -(2**63)), (1000, -2), (1000, 32_000)]),
        "behind the media": short([(1000, 2**31 - 1), (1000, 2**31 - 2)]),
        "counted wrongly": struct.pack(">II", 0, 2**32 - 1) + struct.pack(">IiI", 1000, 0, 0x10000) * 3,
        "cut off": short([(1000, 0), (1000, 32_000)])[:-5],
        "no lines": struct.pack(">II", 0, 0),
        "nothing": b"",
    }


@pytest.mark.parametrize("name", hostile())
def test_hostile_lists_end_soon(name: str, film: bytes, tmp_path: Path, run: Any) -> None:
    path = tmp_path / "x.mov"
    path.write_bytes(relisted(film, lambda *_: hostile()[name]))
    begun = time.process_time()
    try:
        result = run(path)
    except MediaError as error:
        assert len(str(error)) > 20
    else:
        assert result.decoded.duration_us > 0
        assert sum(f.stat().st_size for f in result.folder.iterdir()) < 20e6
        left_out = "edits_left_out" in {d.code for d in result.drops if d.kind == "fault"}
        assert left_out == (name in ("backward", "at random", "slipping", "longest", "a year of nothing"))
    assert time.process_time() - begun < 30


@pytest.mark.parametrize("size", [0, 7, 8, 40, 500, 2000])
def test_any_bytes_have_some_edits_or_none(size: int, film: bytes) -> None:
    whole = edited(film, [(2, 0), (2, 3)])
    moov = whole[whole.rindex(b"moov") - 4 :]
    for cut in (moov[:size], moov[:size] + b"\xff" * 600):
        assert len(film_of(lambda at, n, cut=cut: cut[at : at + n]).tracks) <= 2  # type: ignore[misc]
    assert film_of(lambda at, n: moov[at : at + n]).joined
