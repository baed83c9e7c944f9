"""pyannote.audio pipelines by hub id or local directory, such as community-1."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import warnings
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from corpus.align.backend import MODEL_RATE_HZ, Backend, Bounds, Found, View
from corpus.align.models import HINT, find
from corpus.align.wheels import sha256_of
from corpus.schemas.errors import MissingDependencyError, SettingsError

SAME_VOICE = 0.45
"""Cosine distance up to which two speakers of two stretches are one, on average over their pairs."""


def require_pyannote() -> None:
    """Look for pyannote.audio without importing it, which takes seconds.

    Raises:
        MissingDependencyError: pyannote.audio is not installed.
    """
    if importlib.util.find_spec("pyannote") is None or importlib.util.find_spec("pyannote.audio") is None:
        raise MissingDependencyError("pyannote.audio is not installed", todo=HINT)


def quietly_import(name: str) -> Any:
    """A module of pyannote.audio, without its telemetry and its warning about a decoder we do not use."""
    os.environ["PYANNOTE_METRICS_ENABLED"] = "0"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return import_module(name)


def library_versions() -> str:
    names = ("pyannote.audio", "pyannote.pipeline", "torch", "torchaudio", "scipy", "numpy")
    return " ".join(f"{name}={version(name)}" for name in names)


def named_backend(name: str, models: Path | None, device: str) -> Backend:
    """A pipeline by local directory or by the id of a downloaded hub model.

    pyannote.audio unpickles its checkpoints: use only those whose makers you trust.

    Raises:
        MissingModelError: it is neither a directory nor a downloaded model.
        SettingsError: the directory has no config.yaml of a pipeline.
    """
    folder, digest = pipeline_folder(name, models)
    identity = f"pyannote {digest} {library_versions()} {device}"
    return Backend(identity, lambda: _NamedPipeline(load_named(folder, device)), SAME_VOICE)


def pipeline_folder(name: str, models: Path | None) -> tuple[Path, str]:
    """A pipeline's directory, and the digest of its content."""
    path = Path(name).expanduser()
    folder = path if path.is_dir() else find(name, models)
    if not (folder / "config.yaml").is_file():
        raise SettingsError(f"{name} holds no config.yaml", todo="name the directory of a pyannote pipeline")
    files = sorted(file for file in folder.rglob("*") if file.is_file() and ".cache" not in file.parts)
    listing = "".join(f"{file.relative_to(folder).as_posix()} {sha256_of(file)}\n" for file in files)
    return folder, hashlib.sha256(listing.encode()).hexdigest()


def load_named(folder: Path, device: str) -> Any:
    """The pipeline in a directory, on the device."""
    audio = quietly_import("pyannote.audio")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pipeline = audio.Pipeline.from_pretrained(folder)
    if pipeline is None:
        raise SettingsError(f"{folder} holds no pipeline that pyannote.audio can load")
    import torch

    pipeline.to(torch.device(device))
    return pipeline


class _NamedPipeline:
    """A pipeline of pyannote.audio as a diarizer of stretches."""

    def __init__(self, pipeline: Any) -> None:
        self._pipeline = pipeline

    def __call__(self, sound: npt.NDArray[np.float32], bounds: Bounds, view: View | None) -> Found:
        import torch

        waveform = torch.from_numpy(sound)[None]
        file = {"waveform": waveform, "sample_rate": MODEL_RATE_HZ, "uri": "recording"}
        with warnings.catch_warnings():
            # "the detected number of speakers is outside the bounds": the turns say so themselves
            warnings.simplefilter("ignore")
            output = self._pipeline(file, **_given(bounds))
        annotation = getattr(output, "speaker_diarization", output)
        talk = tuple(
            (float(segment.start), float(segment.end), str(label))
            for segment, _, label in annotation.itertracks(yield_label=True)
        )
        vectors = getattr(output, "speaker_embeddings", None)
        centroids: dict[str, npt.NDArray[np.float64]] = {}
        for place, label in enumerate(annotation.labels()):
            if vectors is not None and place < len(vectors) and np.isfinite(vectors[place]).all():
                centroids[str(label)] = np.asarray(vectors[place], np.float64)
        return Found(talk, centroids)


def _given(bounds: Bounds) -> dict[str, int]:
    if bounds.at_least == bounds.at_most:
        return {"num_speakers": bounds.at_least}
    given = {"min_speakers": bounds.at_least} if bounds.at_least > 1 else {}
    return given | ({"max_speakers": bounds.at_most} if bounds.at_most is not None else {})
