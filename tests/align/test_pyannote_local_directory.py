"""The adapter for pyannote pipelines, on a directory laid out like a published one, weights at random."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from corpus.align.diarize import open_diarizer
from corpus.align.pyannote_pipeline import quietly_import
from corpus.schemas.artifacts import Segment
from corpus.schemas.pcm import Pcm
from corpus.schemas.settings import DiarizeSettings

pytest.importorskip("pyannote.pipeline")
pytestmark = [pytest.mark.models, pytest.mark.slow]

CONFIG = """\
pipeline:
  name: pyannote.audio.pipelines.SpeakerDiarization
  params:
    clustering: VBxClustering
    segmentation: $model/segmentation
    segmentation_batch_size: 4
    embedding: $model/embedding
    embedding_batch_size: 4
    embedding_exclude_overlap: true
    plda: $model/plda
params:
  clustering: {threshold: 0.6, Fa: 0.07, Fb: 0.8}
  segmentation: {min_duration_off: 0.0}
"""


def save(model: Any, path: Path) -> None:
    """The checkpoint as pyannote.audio writes it."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pytorch_lightning
    audio = quietly_import("pyannote.audio")
    path.parent.mkdir()
    about = {
        "versions": {"torch": torch.__version__, "pyannote.audio": audio.__version__},
        "architecture": {"module": type(model).__module__, "class": type(model).__name__},
        "specifications": model.specifications,
    }
    stored = {
        "state_dict": model.state_dict(),
        "hyper_parameters": dict(model.hparams),
        "pytorch-lightning_version": pytorch_lightning.__version__,
        "pyannote.audio": about,
    }
    torch.save(stored, path)


@pytest.fixture
def pipeline_folder(tmp_path: Path) -> Path:
    import torch

    torch.manual_seed(5)
    segmentation = quietly_import("pyannote.audio.models.segmentation")
    embedding = quietly_import("pyannote.audio.models.embedding")
    task = quietly_import("pyannote.audio.core.task")
    net = segmentation.PyanNet(
        lstm={"hidden_size": 16, "num_layers": 1, "bidirectional": True, "monolithic": True},
        linear={"hidden_size": 16, "num_layers": 1},
    )
    net.specifications = task.Specifications(
        problem=task.Problem.MONO_LABEL_CLASSIFICATION,
        resolution=task.Resolution.FRAME,
        duration=2.0,
        classes=["speaker#1", "speaker#2", "speaker#3"],
        powerset_max_classes=2,
        permutation_invariant=True,
    )
    net.build()
    net.setup()
    voice = embedding.WeSpeakerResNet34()
    voice.specifications = task.Specifications(
        problem=task.Problem.REPRESENTATION,
        resolution=task.Resolution.CHUNK,
        duration=2.0,
        classes=["a", "b"],
    )
    voice.build()
    folder = tmp_path / "pipeline"
    folder.mkdir()
    save(net, folder / "segmentation" / "pytorch_model.bin")
    save(voice, folder / "embedding" / "pytorch_model.bin")
    random = np.random.default_rng(5)
    (folder / "plda").mkdir()
    np.savez(
        folder / "plda" / "xvec_transform.npz",
        mean1=random.normal(size=256),
        mean2=random.normal(size=128),
        lda=random.normal(size=(256, 128)),
    )
    np.savez(
        folder / "plda" / "plda.npz",
        mu=random.normal(size=128),
        tr=np.linalg.qr(random.normal(size=(128, 128)))[0],
        psi=np.sort(random.uniform(0.1, 2.0, 128))[::-1].copy(),
    )
    (folder / "config.yaml").write_text(CONFIG)
    return folder


def test_a_local_directory_is_a_diarizer(pipeline_folder: Path, tmp_path: Path) -> None:
    noise = np.random.default_rng(1).integers(-9000, 9000, 3 * 16_000, dtype=np.int16)
    noise.tofile(tmp_path / "channel-0.i16")
    pcm = Pcm(tmp_path, 1, [Segment(first_window=0, windows=15)], 16_000)
    settings = DiarizeSettings(backend=f"pyannote:{pipeline_folder}", max_speakers=2)
    diarizer = open_diarizer(settings)
    turns, drops = diarizer(pcm)
    assert drops == []
    # at random weights only the form is certain
    assert all(0 <= turn.start_us < turn.stop_us <= 3_000_000 for turn in turns)
    assert {turn.speaker for turn in turns} <= {"S1", "S2"}
    assert open_diarizer(settings)(pcm)[0] == turns

    with (pipeline_folder / "config.yaml").open("a") as file:
        file.write("# changed\n")
    assert open_diarizer(settings).key != diarizer.key
