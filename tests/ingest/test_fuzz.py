"""Damaged media by the hundred: a clip or a sentence, never a traceback, never for ever."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from corpus.schemas.errors import MediaError

FORMS = {
    "mp4": ("aac", "libx264"),
    "mkv": ("libopus", "libx264"),
    "ts": ("aac", "libx264"),
    "avi": ("pcm_s16le", "mpeg4"),
    "flv": ("aac", "libx264"),
    "mov": ("pcm_s16le", "libx264"),
    "webm": ("libopus", "libvpx"),
    "wav": ("pcm_s16le", None),
    "mp3": ("libmp3lame", None),
    "ogg": ("libopus", None),
    "flac": ("flac", None),
    "aac": ("aac", None),
}
LONGEST_S = 60
"""A whole file takes well under one second."""


@pytest.fixture(scope="module")
def whole(media: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("whole")
    found = {}
    for suffix, (sound, pictures) in FORMS.items():
        chunk = {"libopus": 960, "libmp3lame": 1152, "flac": 4608}.get(sound, 1024)
        rate = 44_100 if suffix == "flv" else 48_000
        path = folder / f"x.{suffix}"
        video = media.Video(pictures, width=64, height=48) if pictures else None
        audio = media.Audio(sound, rate_hz=rate, chunk=chunk)
        media.write_media(path, duration_s=2, audio=[audio], video=video)
        found[suffix] = path.read_bytes()
    return found


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """Bytes changed, often in the head; pieces cut out, doubled, zeroed; the end cut off and a join."""
    out = bytearray(data)
    for _ in range(int(rng.integers(1, 4))):
        at = int(rng.integers(len(out))) if rng.integers(2) else int(rng.integers(min(len(out), 2000)))
        size = int(rng.integers(1, 1 + min(len(out), 4000)))
        kind = int(rng.integers(6))
        if kind == 0:
            for place in rng.integers(0, len(out), int(rng.integers(1, 40))).tolist():
                out[place] = int(rng.integers(256))
        elif kind == 1:
            del out[at : at + size]
        elif kind == 2:
            out[at:at] = out[at : at + size]
        elif kind == 3:
            out[at : at + size] = bytes(len(out[at : at + size]))
        elif kind == 4:
            out[at : at + 4] = rng.integers(0, 256, len(out[at : at + 4]), np.uint8).tobytes()
        else:
            del out[int(rng.integers(1, len(out) + 1)) :]
            out += data[: int(rng.integers(len(data)))]
        if not out:  # all of it was cut out
            out = bytearray(data[:1])
    return bytes(out)


@pytest.fixture
def bounded() -> Iterator[None]:
    """No file holds the test up for ever."""

    def too_long(*_: object) -> None:
        raise AssertionError(f"not done after {LONGEST_S} s")

    before = signal.signal(signal.SIGALRM, too_long)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def attack(suffix: str, data: bytes, seeds: range, folder: Path, run: Any) -> tuple[int, int]:
    """(used, refused)."""
    used = refused = 0
    for seed in seeds:
        path = folder / f"{seed}.{suffix}"
        path.write_bytes(mutated(data, np.random.default_rng([seed, len(suffix)])))
        signal.alarm(LONGEST_S)
        try:
            result = run(path, channels=("mix", "per_channel", "per_stream")[seed % 3])
        except MediaError as error:
            assert error.what, seed
            refused += 1
        else:
            assert len(result.rows) == result.decoded.windows, seed
            assert all(drop.reason for drop in result.drops), seed
            used += 1
        path.unlink()
    return used, refused


@pytest.mark.usefixtures("bounded")
@pytest.mark.parametrize("suffix", FORMS)
def test_a_few_mutations(suffix: str, whole: dict[str, bytes], tmp_path: Path, run: Any) -> None:
    used, refused = attack(suffix, whole[suffix], range(4), tmp_path, run)
    assert used + refused == 4


@pytest.mark.slow
@pytest.mark.usefixtures("bounded")
@pytest.mark.parametrize("suffix", FORMS)
def test_a_thousand_mutations(suffix: str, whole: dict[str, bytes], tmp_path: Path, run: Any) -> None:
    used, refused = attack(suffix, whole[suffix], range(100, 184), tmp_path, run)
    assert used + refused == 84 and used
