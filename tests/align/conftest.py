"""Helpers shared by the tests of align."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from corpus.schemas.artifacts import Segment
from corpus.schemas.pcm import Pcm

Samples = npt.NDArray[np.int16]
MakePcm = Callable[..., Pcm]


def write_pcm(
    folder: Path, channels: Sequence[Samples], rate_hz: int = 16000, segments: Sequence[Segment] | None = None
) -> Pcm:
    """A decode folder's sound: whole windows only, what is left over is cut off."""
    folder.mkdir(parents=True, exist_ok=True)
    window = rate_hz // 5
    windows = len(channels[0]) // window
    for number, samples in enumerate(channels):
        (folder / f"channel-{number}.i16").write_bytes(samples[: windows * window].astype("<i2").tobytes())
    found = segments if segments is not None else [Segment(first_window=0, windows=windows)]
    return Pcm(folder, len(channels), found, rate_hz)


@pytest.fixture
def make_pcm(tmp_path: Path) -> MakePcm:
    def make(*channels: Samples, rate_hz: int = 16000, segments: Sequence[Segment] | None = None) -> Pcm:
        return write_pcm(tmp_path / "decode", channels, rate_hz, segments)

    return make
