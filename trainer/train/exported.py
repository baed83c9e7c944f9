"""Reads an exported model without its run. export.py lists the files in its folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch

from corpus.schemas.clip import CLIP_FORM, MelForm
from corpus.schemas.codec import from_json
from corpus.schemas.errors import DatasetError, FormatError
from corpus.shards.mel import MEL_FORM
from corpus.trainer.config import ModelConfig
from corpus.trainer.data.control import Weighting
from corpus.trainer.data.text import Tokenizer
from corpus.trainer.data.tokenizer_file import TOKENIZER_NAME
from corpus.trainer.data.tokenizer_named import tokenizer_named
from corpus.trainer.model.model import InteractionModel

CONFIG_NAME = "config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"

Dtype = Literal["float32", "bfloat16"]
_FRACTIONS = (torch.float32, torch.bfloat16, torch.float16, torch.float64)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportConfig:
    """config.json of an exported model."""

    older: ClassVar[dict[str, Any]] = {
        "corpus.model/2": lambda plain: {**plain, "schema": "corpus.model/3", "trained_windows": None}
    }

    schema: str = "corpus.model/3"
    model_type: str = "corpus-interaction"
    architectures: tuple[str, ...] = ("InteractionModel",)
    torch_dtype: Dtype
    tokenizer: str
    """`bytes`, or the sha256 of the file tokenizer.json beside it."""
    hears: str
    """The `data.hears` of its training."""
    clips: str = CLIP_FORM
    mel: MelForm = MEL_FORM
    """The meaning of a mel byte."""
    weighting: Weighting
    """How the loss weights of its training shifted the odds of speaking."""
    trained_windows: int | None
    """The most consecutive windows that training showed at once; the model attends no further back."""
    model: ModelConfig


def is_exported(folder: Path) -> bool:
    """Whether a folder holds an exported model rather than a run, judged by its config.json."""
    try:
        plain = json.loads((folder / CONFIG_NAME).read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(plain, dict) and str(plain.get("schema")).startswith("corpus.model/")


def load_exported(folder: Path, device: torch.device | str = "cpu") -> tuple[InteractionModel, ExportConfig]:
    """An exported model, ready to use. Raises: FormatError, DatasetError for another mel definition."""
    head, weights = read_head(folder), read_weights(folder)
    if head.mel != MEL_FORM:
        todo = "use the version the model was trained with"
        raise DatasetError(
            f"trained on {head.mel}, this version has {MEL_FORM}", where=str(folder), todo=todo
        )
    model = InteractionModel.unset(head.model)
    # Check shapes first: a downloaded config.json may ask for any amount of memory.
    check_shapes(weights, {name: held.shape for name, held in model.state_dict().items()}, folder)
    if head.torch_dtype == "bfloat16":
        # Cast on the meta device, before memory is allocated; routers keep themselves in fp32.
        model = model.to(torch.bfloat16)
    model = model.to_empty(device=device)
    # Not strict, so that the message can name the folder and the first few.
    unknown = model.load_state_dict(weights, strict=False).unexpected_keys
    if unknown:
        raise FormatError(f"weights {', '.join(unknown[:3])} are unknown", where=str(folder))
    model.tokenizer = _tokenizer_of(folder, head)
    model.weighting = head.weighting
    if head.trained_windows is not None:
        model.keep_to(head.trained_windows)
    return model.eval(), head


def read_head(folder: Path) -> ExportConfig:
    """Raises: FormatError if the folder is not an exported model."""
    try:
        return from_json(ExportConfig, (folder / CONFIG_NAME).read_bytes(), where=str(folder / CONFIG_NAME))
    except OSError as error:
        raise FormatError(f"is not an exported model: {error!r}", where=str(folder)) from error


def weights_digest(folder: Path) -> str:
    """sha256 over a folder's weight files. Raises: FormatError if one cannot be read."""
    whole = hashlib.sha256()
    try:
        for name in _weight_files(folder):
            with (folder / name).open("rb") as file:
                whole.update(hashlib.file_digest(file, "sha256").digest())
    except (OSError, ValueError) as error:
        raise FormatError(f"its weights cannot be read: {error}", where=str(folder)) from error
    return whole.hexdigest()


def _tokenizer_of(folder: Path, head: ExportConfig) -> Tokenizer:
    """Raises: FormatError if the folder's file is not the tokenizer that the model was trained with."""
    tokenizer = tokenizer_named("bytes" if head.tokenizer == "bytes" else str(folder / TOKENIZER_NAME))
    if tokenizer.identity != head.tokenizer:
        what = f"its {TOKENIZER_NAME} is not the one it was trained with"
        raise FormatError(what, where=str(folder), todo="export it again")
    return tokenizer


def read_weights(folder: Path) -> dict[str, torch.Tensor]:
    """All weights of a folder by their names.

    Raises: FormatError if a file is missing or not safetensors, or a weight is not a finite float.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    weights: dict[str, torch.Tensor] = {}
    try:
        for name in _weight_files(folder):
            weights |= load_file(folder / name)
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        raise FormatError(f"its weights cannot be read: {error}", where=str(folder)) from error
    for name, weight in weights.items():
        # Copying would silently turn these into numbers.
        if weight.dtype not in _FRACTIONS:
            raise FormatError(f"weight {name} is of {weight.dtype}", where=str(folder))
        if not weight.isfinite().all():
            raise FormatError(f"weight {name} holds NaN or infinity", where=str(folder))
    return weights


def check_shapes(
    weights: Mapping[str, torch.Tensor], shapes: Mapping[str, Sequence[int]], folder: Path
) -> None:
    """Raises: FormatError if a weight is missing, or of another shape than config.json says."""
    for name, shape in shapes.items():
        if name not in weights:
            raise FormatError(f"weight {name} is missing", where=str(folder))
        if tuple(weights[name].shape) != tuple(shape):
            what = f"weight {name} is of another shape than config.json says"
            raise FormatError(what, where=str(folder))


def _weight_files(folder: Path) -> list[str]:
    """Names of the files that hold weights. Raises: OSError, or ValueError for a faulty index."""
    if not (folder / INDEX).exists():
        return [WEIGHTS]
    # Large models are split into several files, as in transformers.
    try:
        index = json.loads((folder / INDEX).read_bytes())
    except RecursionError as error:
        raise ValueError(f"{INDEX} is not JSON") from error
    places = index.get("weight_map") if isinstance(index, dict) else None
    names = list(places.values()) if isinstance(places, dict) else [None]
    # The list may come from elsewhere: a name with a slash could read any file of this machine.
    wrong = [name for name in names if not isinstance(name, str) or not name or Path(name).name != name]
    if wrong:
        raise ValueError(f"{INDEX} names {wrong[0]!r}, which is no file beside it")
    return sorted({str(name) for name in names})
