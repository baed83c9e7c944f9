"""What the tests of ingest share: the media generator, and a decode whose results are easy to ask."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from corpus.ingest.decode import DecodeSource, decode_media
from corpus.ingest.pictures import letterbox
from corpus.schemas.artifacts import PICTURE_NONE, Decoded
from corpus.schemas.drops import Drop
from corpus.schemas.pcm import Pcm
from corpus.schemas.recording import Stream
from corpus.schemas.settings import IngestSettings


@dataclass
class Result:
    """A decode and its folder."""

    decoded: Decoded
    drops: list[Drop]
    folder: Path
    media: ModuleType

    @property
    def pcm(self) -> Pcm:
        d = self.decoded
        return Pcm(self.folder, len(d.channels), d.segments, d.sample_rate_hz)

    def sound(self, channel: int = 0) -> npt.NDArray[np.int16]:
        return self.pcm.read(channel, 0, self.pcm.stop_sample)

    def chirps(self, channel: int = 0) -> list[float]:
        found: list[float] = self.media.find_chirps(self.sound(channel), self.decoded.sample_rate_hz)
        return found

    @property
    def rows(self) -> npt.NDArray[Any]:
        return np.load(self.folder / "pictures.npy")

    def jpeg(self, row: int) -> bytes:
        data = (self.folder / "pictures.mjpeg").read_bytes()
        offset, size = int(self.rows[row]["offset"]), int(self.rows[row]["size"])
        return data[offset : offset + size]

    def numbers(self, shape: tuple[int, int] = (320, 240), aspect: Fraction = Fraction(1)) -> list[int]:
        """The number each written window's picture shows; -1 where there is none."""
        d = self.decoded
        box = letterbox(*shape, aspect, 0, (d.picture_width, d.picture_height))
        found: list[int] = []
        for at, row in enumerate(self.rows):
            if row["flags"] & PICTURE_NONE:
                found.append(-1)
                continue
            luma = self.media.jpeg_luma(self.jpeg(at))
            inner = luma[box.top : box.top + box.height, box.left : box.left + box.width]
            found.append(self.media.read_number(inner))
        return found

    def stream(self, kind: str) -> Stream:
        return next(s for s in self.decoded.streams if s.kind == kind and s.chosen)

    def codes(self) -> set[str]:
        """Codes of all oddities, of the recording and its streams."""
        d = self.decoded
        return {o.code for o in d.oddities} | {o.code for s in d.streams for o in s.oddities}

    def bytes(self) -> dict[str, bytes]:
        return {p.name: p.read_bytes() for p in sorted(self.folder.iterdir())}


Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path_factory: pytest.TempPathFactory, media: ModuleType) -> Run:
    """run(path or DecodeSources, observers=(), **settings) -> Result"""

    def _run(files: Any, observers: Any = (), progress: Any = None, **settings: Any) -> Result:
        folder = tmp_path_factory.mktemp("decode")
        sources = [DecodeSource(files)] if isinstance(files, Path) else list(files)
        decoded, drops = decode_media(
            sources, folder, IngestSettings(**settings), observers=observers, progress=progress
        )
        return Result(decoded, drops, folder, media)

    return _run


def expected_numbers(times: list[Fraction], end: Fraction, windows: list[int]) -> list[int]:
    """The picture of each window by its definition: the last frame strictly before the window's end.

    `times` are on the recording's clock; a video that has ended at `end` has no picture.
    """
    found: list[int] = []
    for window in windows:
        shown = [n for n, time in enumerate(times) if time < Fraction(window + 1, 5)]
        over = end <= Fraction(window, 5)
        found.append(-1 if over or not shown else max(shown, key=lambda n: (times[n], n)))
    return found


@pytest.fixture
def expected() -> Callable[[list[Fraction], Fraction, list[int]], list[int]]:
    return expected_numbers
