"""NVIDIA's Sortformer through NeMo: who talks when, up to four people, overlaps included.

The network names speakers by the order in which they first talk, and gives no voice vectors. CAM++ measures
the speech of each speaker alone, so that the stretches of a long recording can be joined.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from corpus.align import campplus
from corpus.align.backend import MODEL_RATE_HZ, Backend, Bounds, Found, View
from corpus.align.bundled import SAME_VOICE
from corpus.align.models import find, pinned_digest
from corpus.align.wheels import sha256_of
from corpus.schemas.errors import MissingDependencyError, SettingsError

VERSION = "sortformer/1"
LONGEST_FRAMES = 3000
"""30 s of a speaker's speech alone are enough to know the voice."""

Talk = tuple[tuple[float, float, str], ...]


def sortformer_backend(name: str, models: Path | None, device: str) -> Backend:
    """The backend of a checkpoint, named by its file or by the id of a hub model that was fetched before.

    NeMo builds whatever the file names, so use only files from people you trust.

    Raises:
        MissingDependencyError: NeMo is not installed.
        MissingModelError: it is neither a file nor a fetched model.
    """
    if importlib.util.find_spec("nemo") is None:
        raise MissingDependencyError("NeMo is not installed", todo='pip install "nemo_toolkit[asr]==3.0.0"')
    path = _checkpoint(name, models)
    embedding = find("campplus", models)
    identity = (
        f"{VERSION} {sha256_of(path)} {pinned_digest('campplus')} nemo={version('nemo_toolkit')}"
        f" torch={version('torch')} {device}"
    )

    def load() -> Sortformer:
        from nemo.collections.asr.models import SortformerEncLabelModel

        model = SortformerEncLabelModel.restore_from(restore_path=str(path), map_location=device)
        return Sortformer(model.eval(), campplus.load_network(embedding).to(device), device)

    return Backend(identity, load, SAME_VOICE)


def _checkpoint(name: str, models: Path | None) -> Path:
    path = Path(name).expanduser()
    if path.is_file():
        return path
    folder = path if path.is_dir() else find(name, models)
    checkpoints = sorted(folder.glob("*.nemo"))
    if len(checkpoints) != 1:
        raise SettingsError(
            f"{folder} holds {len(checkpoints)} .nemo files instead of one",
            todo="name the file: sortformer:FILE.nemo",
        )
    return checkpoints[0]


class Sortformer:
    """The model as a diarizer of stretches."""

    def __init__(self, model: Any, embedding: Any, device: str) -> None:
        self._model = model
        self._embedding = embedding
        self._device = device

    def __call__(self, sound: npt.NDArray[np.float32], bounds: Bounds, view: View | None) -> Found:
        (lines,) = self._model.diarize(audio=[sound], batch_size=1, sample_rate=MODEL_RATE_HZ, verbose=False)
        talk = talk_of(lines)
        return Found(talk, self._voices(sound, talk))

    def _voices(self, sound: npt.NDArray[np.float32], talk: Talk) -> dict[str, npt.NDArray[np.float64]]:
        frames = campplus.features(sound)
        labels = sorted({label for _, _, label in talk})
        talking = np.zeros((len(labels), len(frames)), bool)
        for start, stop, label in talk:
            talking[labels.index(label), int(start * 100) : int(stop * 100)] = True
        alone = talking & (talking.sum(axis=0) == 1)
        pieces = [frames[row][:LONGEST_FRAMES] for row in alone]
        rows = campplus.voices(campplus.embed(self._embedding, pieces, self._device))
        return {label: row for label, row in zip(labels, rows, strict=True) if np.isfinite(row).all()}


def talk_of(lines: Sequence[str]) -> Talk:
    """The talk in lines `start stop speaker_k`, in seconds."""
    talk: list[tuple[float, float, str]] = []
    for line in lines:
        start, stop, label = line.split()
        talk.append((float(start), float(stop), label))
    return tuple(sorted(talk))
