"""pyannote.audio's speech separation pipelines, such as speech-separation-ami-1.0, by hub id or directory."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from corpus.align.backend import MODEL_RATE_HZ
from corpus.align.pyannote_pipeline import library_versions, load_named, pipeline_folder, require_pyannote
from corpus.align.separate.separator import Separate, Separator
from corpus.schemas.arrays import Float32Array
from corpus.schemas.errors import MissingDependencyError, SettingsError

_VERSION = "pyannote-separation/1"
_MOST_SPEAKERS = 3
"""The most speakers that the published pipeline's network handles, in the 5 s that it sees at once."""


def pyannote_separator(name: str, models: Path | None, device: str) -> Separator:
    """The separator of a pipeline.

    pyannote.audio unpickles its checkpoints, so use only those from people you trust.
    """
    require_pyannote()
    folder, digest = pipeline_folder(name, models)
    identity = f"{_VERSION} {digest} {library_versions()} {device}"
    return Separator(f"{_VERSION} {digest[:12]}", identity, _MOST_SPEAKERS, lambda: load(folder, device))


def load(folder: Path, device: str) -> Separate:
    try:
        pipeline = load_named(folder, device)
    except ImportError as error:
        raise MissingDependencyError(
            f"the pipeline in {folder} needs a package that is not installed: {str(error).splitlines()[0]}",
            todo="pip install --no-deps asteroid==0.7.0 soundfile julius && pip install transformers",
        ) from error
    if not hasattr(pipeline, "separation"):
        raise SettingsError(
            f"{folder} holds {type(pipeline).__name__}, which does not separate voices",
            todo='name one as "pyannote/speech-separation-ami-1.0"; diarize.backend takes this one',
        )
    return _Pipeline(pipeline)


class _Pipeline:
    def __init__(self, pipeline: Any) -> None:
        self._pipeline = pipeline

    def __call__(self, sound: Float32Array, speakers: int) -> Float32Array:
        import torch

        file = {"waveform": torch.from_numpy(sound)[None], "sample_rate": MODEL_RATE_HZ, "uri": "overlap"}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _, sources = self._pipeline(file, num_speakers=speakers)
        voices = np.zeros((0, 0), np.float32) if sources is None else np.asarray(sources.data, np.float32).T
        whole = np.zeros((max(speakers, len(voices)), len(sound)), np.float32)
        samples = min(voices.shape[1], len(sound))
        whole[: len(voices), :samples] = np.nan_to_num(voices[:, :samples])
        return whole
