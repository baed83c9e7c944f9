"""Helpers shared by the tests of align."""

from __future__ import annotations

import importlib.util
import wave
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from corpus.align.models import find
from corpus.align.pinned_models import BUNDLES
from corpus.align.sidecars import read_sidecars
from corpus.schemas.arrays import Int16Array
from corpus.schemas.artifacts import Segment
from corpus.schemas.conversation import Turn
from corpus.schemas.errors import MissingModelError
from corpus.schemas.pcm import Pcm

MakePcm = Callable[..., Pcm]


def write_pcm(
    folder: Path,
    channels: Sequence[Int16Array],
    rate_hz: int = 16000,
    segments: Sequence[Segment] | None = None,
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
    def make(*channels: Int16Array, rate_hz: int = 16000, segments: Sequence[Segment] | None = None) -> Pcm:
        return write_pcm(tmp_path / "decode", channels, rate_hz, segments)

    return make


@pytest.fixture(scope="session")
def sample_folder() -> Path:
    """The folder of the call that ships with pyannote.audio; skips without it or the default models."""
    spec = importlib.util.find_spec("pyannote.audio") if importlib.util.find_spec("pyannote") else None
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("pyannote.audio is not installed")
    for name in BUNDLES:
        try:
            find(name)
        except MissingModelError as error:
            pytest.skip(str(error))
    return Path(spec.submodule_search_locations[0]) / "sample"


@pytest.fixture(scope="session")
def sample_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The decode folder of the call."""
    return tmp_path_factory.mktemp("sample")


@pytest.fixture(scope="session")
def sample_pcm(sample_folder: Path, sample_path: Path) -> Pcm:
    with wave.open(str(sample_folder / "sample.wav")) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    return write_pcm(sample_path, [samples])


@pytest.fixture(scope="session")
def sample_turns(sample_folder: Path) -> list[Turn]:
    annotation, _ = read_sidecars([sample_folder / "sample.rttm"], 30_000_000)
    return list(annotation.turns or ())


@pytest.fixture(scope="session")
def sample_error(sample_turns: list[Turn]) -> Callable[[Sequence[Turn], int], float]:
    """Diarization error of the call said so many times over: collar 0, overlap scored."""
    from pyannote.core import Annotation, Timeline
    from pyannote.core import Segment as Stretch
    from pyannote.metrics.diarization import DiarizationErrorRate

    def annotation(turns: Sequence[Turn]) -> Annotation:
        made = Annotation()
        for number, turn in enumerate(turns):
            made[Stretch(turn.start_us / 1e6, turn.stop_us / 1e6), number] = turn.speaker
        return made

    def error(turns: Sequence[Turn], times: int) -> float:
        truth = [
            replace(t, start_us=t.start_us + n * 30_000_000, stop_us=t.stop_us + n * 30_000_000)
            for n in range(times)
            for t in sample_turns
        ]
        metric = DiarizationErrorRate(collar=0.0, skip_overlap=False)
        whole = Timeline([Stretch(0, 30 * times)])
        return float(metric(annotation(truth), annotation(turns), uem=whole))

    return error
