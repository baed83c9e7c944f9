"""The adapter for pyannote's separation pipelines, on a directory laid out like the published one.

The pipeline is the library's; the network is a small one of the same interface, since the published one needs
Asteroid, transformers and a download.
"""

from __future__ import annotations

import warnings
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from corpus.align.pyannote_pipeline import quietly_import
from corpus.align.separate.pyannote import load, pyannote_separator
from corpus.schemas.errors import MissingDependencyError, MissingModelError, SettingsError
from tests.align.test_pyannote_local_directory import pipeline_folder, save

pytest.importorskip("pyannote.pipeline")
pytestmark = [pytest.mark.models, pytest.mark.slow]
__all__ = ["pipeline_folder"]

CONFIG = """\
pipeline:
  name: pyannote.audio.pipelines.SpeechSeparation
  params:
    clustering: AgglomerativeClustering
    segmentation: $model/separation
    segmentation_step: 0.5
    embedding: $model/embedding
    embedding_exclude_overlap: true
params:
  clustering: {method: centroid, min_cluster_size: 1, threshold: 0.7}
  segmentation: {min_duration_off: 0.0, threshold: 0.1}
  separation: {leakage_removal: false, asr_collar: 0.0}
"""


@pytest.fixture
def separation_folder(pipeline_folder: Path) -> Path:
    task = quietly_import("pyannote.audio.core.task")
    network = import_module("tests.align.separate.tiny_pyannote").TinySeparation()
    common = {"resolution": task.Resolution.FRAME, "duration": 2.0, "permutation_invariant": True}
    network.specifications = tuple(
        task.Specifications(problem=problem, classes=["speaker#1", "speaker#2"], **common)
        for problem in (task.Problem.MULTI_LABEL_CLASSIFICATION, task.Problem.MONO_LABEL_CLASSIFICATION)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network.build()
        network.setup()
    save(network, pipeline_folder / "separation" / "pytorch_model.bin")
    (pipeline_folder / "config.yaml").write_text(CONFIG)
    return pipeline_folder


def test_a_local_directory_is_a_separator(separation_folder: Path) -> None:
    separator = pyannote_separator(str(separation_folder), None, "cpu")
    sound = np.random.default_rng(1).normal(scale=0.1, size=2 * 16_000 + 77).astype(np.float32)
    found = separator.load()(sound, 2)
    assert found.shape == (2, len(sound))
    # of voices at random only the form is certain
    assert np.isfinite(found).all() and found.any()


def test_a_diarization_pipeline_is_none(pipeline_folder: Path) -> None:
    with pytest.raises(SettingsError, match="does not separate"):
        load(pipeline_folder, "cpu")


def test_what_is_missing_is_said_in_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MissingModelError, match="corpus models pull nobody/none"):
        pyannote_separator("nobody/none", None, "cpu")

    def fails(folder: Path, device: str) -> None:
        raise ImportError("'asteroid' must be installed to use ToTaToNet separation.\nsecond line")

    monkeypatch.setattr("corpus.align.separate.pyannote.load_named", fails)
    with pytest.raises(MissingDependencyError, match=r"asteroid.*pip install"):
        load(tmp_path, "cpu")
