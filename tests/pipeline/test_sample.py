"""The sample video shows what is true: window k's picture shows k, and mouths follow the call's turns."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest

from corpus.ingest.decode import DecodeSource, decode_media
from corpus.pipeline.sample.film import find_call, read_call, write_sample
from corpus.schemas.errors import MissingDependencyError, StorageError
from corpus.schemas.settings import IngestSettings

try:
    find_call()
except MissingDependencyError:
    pytest.skip("the sample call ships with pyannote.audio", allow_module_level=True)


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sample") / "call.mp4"
    write_sample(out)
    return out


def frames(path: Path) -> Iterator[tuple[float, np.ndarray]]:
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            yield float(frame.time), frame.to_ndarray(format="rgb24")


def read_counter(picture: np.ndarray) -> int | None:
    """The number in the row of blocks of an RGB picture of any size; None where there is none.

    Takes the middle third of each cell, so neither scaling nor compression of the edges matters.
    """
    scale = picture.shape[0] / 400
    middle = picture[int(360 * scale) : int(368 * scale)].astype(float).mean(axis=(0, 2))
    edges = [((398 + 14 * cell + 14 / 3) * scale, (398 + 14 * cell + 28 / 3) * scale) for cell in range(16)]
    levels = [middle[int(left) : max(int(left) + 1, int(right))].mean() for left, right in edges]
    if any(70 < level < 180 for level in levels):
        return None
    first, second, *bits, parity, last = (int(level > 125) for level in levels)
    whole = (first, second, parity, last) == (1, 0, sum(bits) % 2, 1)
    return int("".join(map(str, bits)), 2) if whole else None


def test_last_picture_of_window_k_shows_k(sample: Path) -> None:
    last: dict[int, int | None] = {}
    for time, picture in frames(sample):
        last[int(time * 1000 + 0.5) // 200] = read_counter(picture)
    assert last == {k: k for k in range(150)}


def test_after_decode_the_small_picture_of_window_k_shows_k(sample: Path, tmp_path: Path) -> None:
    """What a build keeps: 320x200, JPEG, the last frame strictly before the window's end."""
    decoded, drops = decode_media([DecodeSource(sample, None, 0)], tmp_path, IngestSettings())
    assert (decoded.windows, decoded.picture_width, decoded.picture_height) == (150, 320, 200)
    assert [d for d in drops if d.kind == "fault"] == []
    rows = np.load(tmp_path / "pictures.npy")
    film = (tmp_path / "pictures.mjpeg").read_bytes()
    seen = []
    for row in rows:
        data = film[int(row["offset"]) : int(row["offset"]) + int(row["size"])]
        with av.open(io.BytesIO(data), format="mjpeg") as container:
            seen.append(read_counter(next(container.decode(video=0)).to_ndarray(format="rgb24")))
    assert seen == list(range(150))


def test_sound_stands_where_the_call_has_it(sample: Path) -> None:
    with av.open(str(sample)) as container:
        parts = list(container.decode(audio=0))
    start = round(float(parts[0].time) * 16000)
    sound = np.concatenate([p.to_ndarray()[0] for p in parts])
    truth = read_call(find_call()).samples.astype(np.float32) / 32768
    shown = np.zeros(480_000, np.float32)
    low = max(0, -start)
    part = sound[low : low + 480_000 - max(0, start)]
    shown[max(0, start) : max(0, start) + len(part)] = part
    spectrum = np.fft.rfft(shown, 1 << 20) * np.conj(np.fft.rfft(truth, 1 << 20))
    match = np.fft.irfft(spectrum)
    assert int(np.argmax(match)) == 0
    assert match[0] / np.linalg.norm(shown) / np.linalg.norm(truth) > 0.97


def test_streams_are_what_players_expect(sample: Path) -> None:
    with av.open(str(sample)) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert (video.codec_context.name, video.width, video.height, video.average_rate) == (
            "h264",
            640,
            400,
            25,
        )
        assert (audio.codec_context.name, audio.rate, video.frames) == ("aac", 16000, 750)
    assert [p.name for p in sample.parent.iterdir()] == ["call.mp4"], "no sidecar: the demo runs the models"


def test_a_mouth_is_open_only_in_its_speakers_turns(sample: Path) -> None:
    """The line around a panel is lit exactly while its mouth is open; it is easier to read back."""
    call = read_call(find_call())
    speakers = ["speaker90", "speaker91"]
    wrong = 0
    for time, picture in frames(sample):
        time_us = round(time * 1e6)
        for place, speaker in enumerate(speakers):
            left = 12 + place * 312
            red, green, blue = picture[100:250, left + 2].astype(int).mean(axis=0)
            lit = (red - blue > 80) if place == 0 else (green - red > 50)
            wrong += lit != any(t.speaker == speaker and time_us in t.span for t in call.turns)
    assert wrong == 0


@pytest.mark.slow
def test_same_bytes_each_time(sample: Path, tmp_path: Path) -> None:
    seen: list[int] = []
    write_sample(tmp_path / "again.mp4", progress=seen.append)
    digests = [hashlib.sha256(p.read_bytes()).hexdigest() for p in (sample, tmp_path / "again.mp4")]
    assert digests[0] == digests[1]
    assert (seen[0], seen[-1], len(seen)) == (40_000, 30_000_000, 750)


def test_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"duplex-corpus\[models\]"):
        write_sample(tmp_path / "x.mp4")


def test_a_folder_that_cannot_be_made_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot write"):
        write_sample(tmp_path / "file" / "x.mp4")
