"""Nothing of a checkpoint is run, whoever wrote it; one of the older form still loads."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from corpus.schemas.codec import to_json
from corpus.schemas.errors import FormatError
from corpus.trainer.train.checkpoint import load_tensors, read_meta
from corpus.trainer.train.checkpoint_index import INDEX, PICKLED, read_index
from corpus.trainer.train.load_model import load_model

RUN = Path(__file__).parents[2] / "fixtures" / "run-1"
WEIGHTS = "b6dab1d8e3fc3a210bb1d43ae959c61a87d315f995c951805e7ef9bd36e6e8c4"
"""sha256 over names and bytes, taken when it was written, by the version that wrote it."""


class Payload:
    def __init__(self, flag: Path) -> None:
        self.flag = flag

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.flag),)


def digest_of(model: torch.nn.Module) -> str:
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode() + value.numpy().tobytes())
    return digest.hexdigest()


def copied(tmp_path: Path) -> Path:
    """A run of the older form and its checkpoint."""
    return Path(shutil.copytree(RUN, tmp_path / "run")) / "checkpoints" / "step-00000002"


def replace(checkpoint: Path, name: str, data: bytes) -> None:
    """A file of it, with its size and sum made to fit."""
    (checkpoint / name).write_bytes(data)
    path = checkpoint / "meta.json"
    plain = json.loads(path.read_bytes())
    marks = [mark for mark in plain["files"] if mark["name"] != name]
    marks.append({"name": name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()})
    path.write_text(json.dumps({**plain, "files": marks}))


def test_a_checkpoint_of_the_older_form_loads() -> None:
    model, config = load_model(RUN)
    assert config.data.length == 64 and digest_of(model) == WEIGHTS
    assert model.sight.window_turns == 63 // 5  # as many silent windows as its rows can have held


@pytest.mark.parametrize("name", [PICKLED, "__0_0.distcp"])
def test_code_in_a_checkpoint_is_refused_and_not_run(tmp_path: Path, name: str) -> None:
    checkpoint, flag = copied(tmp_path), tmp_path / "ran"
    replace(checkpoint, name, pickle.dumps(Payload(flag)))
    with pytest.raises(FormatError):
        load_model(tmp_path / "run")
    assert not flag.exists()


def test_code_in_place_of_a_tensor_is_refused_and_not_run(tmp_path: Path) -> None:
    """The index tells torch to read bytes, which it would unpickle."""
    checkpoint, flag = copied(tmp_path), tmp_path / "ran"
    metadata = pickle.loads((checkpoint / PICKLED).read_bytes())
    name = next(iter(metadata.state_dict_metadata))
    bytes_kind = torch.distributed.checkpoint.metadata.BytesStorageMetadata()
    metadata.state_dict_metadata[name] = bytes_kind
    replace(checkpoint, PICKLED, pickle.dumps(metadata))
    replace(checkpoint, "__0_0.distcp", pickle.dumps(Payload(flag)))
    with pytest.raises(FormatError, match="BytesStorageMetadata"):
        load_model(tmp_path / "run")
    assert not flag.exists()


def converted(tmp_path: Path) -> Path:
    """The same checkpoint with an index of today's form."""
    checkpoint = copied(tmp_path)
    meta = read_meta(checkpoint)
    index = read_index(checkpoint, frozenset(mark.name for mark in meta.files))
    (checkpoint / PICKLED).unlink()
    plain = json.loads((checkpoint / "meta.json").read_bytes())
    plain["files"] = [mark for mark in plain["files"] if mark["name"] != PICKLED]
    (checkpoint / "meta.json").write_text(json.dumps(plain))
    replace(checkpoint, INDEX, to_json(index).encode())
    return checkpoint


def test_both_forms_of_the_index_say_the_same(tmp_path: Path) -> None:
    converted(tmp_path)
    assert digest_of(load_model(tmp_path / "run")[0]) == WEIGHTS


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"file": "../../../secret"}, "which the checkpoint does not list"),
        ({"start": [900, 0]}, "lies outside it"),
        ({"first_byte": -1}, "lies outside it"),
        ({"size": "all"}, "must be a list"),
    ],
)
def test_an_index_that_points_elsewhere_is_refused(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    checkpoint = converted(tmp_path)
    plain = json.loads((checkpoint / INDEX).read_bytes())
    plain["tensors"][0]["chunks"][0].update(change)
    replace(checkpoint, INDEX, json.dumps(plain).encode())
    meta = read_meta(checkpoint)
    with pytest.raises(FormatError, match=says):
        read_index(checkpoint, frozenset(mark.name for mark in meta.files))
    with pytest.raises(FormatError):
        load_tensors(checkpoint, meta, {"model": {"embed.text": torch.zeros(272, 8)}})
