"""A trained model as safetensors with a config.json, to be read without a run.

FOLDER/config.json                         what the model is
FOLDER/model.safetensors                   its weights; above a size as model-00001-of-0000n.safetensors
FOLDER/model.safetensors.index.json        with an index that says which file holds what
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch

from corpus.schemas.clip import CLIP_FORM, MelForm
from corpus.schemas.codec import from_json, to_json
from corpus.schemas.errors import DatasetError, FormatError, StorageError, UsageError
from corpus.schemas.files import write_whole
from corpus.shards.mel import MEL_FORM
from corpus.trainer.config import ModelConfig
from corpus.trainer.data.control import Weighting
from corpus.trainer.data.text import Tokenizer
from corpus.trainer.data.tokenizer_file import TOKENIZER_NAME, keep_tokenizer, tokenizer_named
from corpus.trainer.model.model import InteractionModel
from corpus.trainer.train.checkpoint import load_model

CONFIG_NAME = "config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
FILE_BYTES = 5_000_000_000

Dtype = Literal["float32", "bfloat16"]


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
    """What it was trained to hear, as `data.hears`."""
    clips: str = CLIP_FORM
    mel: MelForm = MEL_FORM
    """What a mel byte means."""
    weighting: Weighting
    """What its training did to the odds to speak."""
    trained_windows: int | None
    """The most consecutive windows that training showed it at once; it attends no further back."""
    model: ModelConfig


def export(
    run: Path,
    folder: Path,
    *,
    step: int | None = None,
    ema: bool = False,
    dtype: Dtype = "float32",
    file_bytes: int = FILE_BYTES,
) -> list[Path]:
    """Write a run's model into a new or empty folder; the files written.

    Router biases stay fp32 in any case: they move in steps of a thousandth.

    Raises: UsageError when the folder holds something, StorageError when it cannot be written, and what
    `load_model` raises.
    """
    from safetensors.torch import save_file

    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError("is not an empty folder", where=str(folder), todo="name a new one")
    model, config = load_model(run, step=step, ema=ema)
    weights = _weights(model, dtype)
    files = _files(weights, file_bytes)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, held in files.items():
            save_file(held, folder / name, metadata={"format": "pt"})
            (folder / name).chmod(0o644)  # the library leaves it to its owner alone
        if len(files) > 1:
            write_whole(folder / INDEX, _index(files))
        head = ExportConfig(
            torch_dtype=dtype,
            tokenizer=model.tokenizer.identity,
            hears=config.data.hears,
            weighting=model.weighting,
            trained_windows=model.sight.window_turns,
            model=config.model,
        )
        keep_tokenizer(config.data.tokenizer, folder)
        write_whole(folder / CONFIG_NAME, (to_json(head, indent=2) + "\n").encode())
    except OSError as error:
        raise StorageError(f"cannot be written: {error.strerror}", where=str(folder)) from error
    return sorted(folder.iterdir())


def is_exported(folder: Path) -> bool:
    """Whether a folder is an exported model's and not a run's, by its config.json."""
    try:
        plain = json.loads((folder / CONFIG_NAME).read_bytes())
    except (OSError, ValueError):
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
    if head.torch_dtype == "bfloat16":
        model = model.to(torch.bfloat16)
    model = model.to_empty(device=device)
    wrong = [
        name
        for name, held in model.state_dict().items()
        if name in weights and held.shape != weights[name].shape
    ]
    if wrong:
        raise FormatError(f"weight {wrong[0]} is of another shape than config.json says", where=str(folder))
    missing, unknown = model.load_state_dict(weights, strict=False)
    if missing or unknown:
        what = f"weights {', '.join([*missing, *unknown][:3])} are missing or unknown"
        raise FormatError(what, where=str(folder))
    model.tokenizer = tokenizer_of(folder, head)
    model.weighting = head.weighting
    if head.trained_windows is not None:
        model.keep_to(head.trained_windows)
    return model.eval(), head


def read_head(folder: Path) -> ExportConfig:
    """Raises: FormatError where it is no exported model's."""
    try:
        return from_json(ExportConfig, (folder / CONFIG_NAME).read_bytes(), where=str(folder / CONFIG_NAME))
    except OSError as error:
        raise FormatError(f"is no exported model: {error!r}", where=str(folder)) from error


def tokenizer_of(folder: Path, head: ExportConfig) -> Tokenizer:
    """Raises: FormatError where the file beside it is another one."""
    found = tokenizer_named("bytes" if head.tokenizer == "bytes" else str(folder / TOKENIZER_NAME))
    if found.identity != head.tokenizer:
        what = f"its {TOKENIZER_NAME} is not the one it was trained with"
        raise FormatError(what, where=str(folder), todo="export it again")
    return found


def read_weights(folder: Path) -> dict[str, torch.Tensor]:
    """Raises: FormatError where a file is missing or no safetensors."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    weights: dict[str, torch.Tensor] = {}
    try:
        for name in _names(folder):
            weights |= load_file(folder / name)
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        raise FormatError(f"is no exported model: {error!r}", where=str(folder)) from error
    return weights


def _weights(model: InteractionModel, dtype: Dtype) -> dict[str, torch.Tensor]:
    """Routers stay as they are: rounded, they would choose other experts here and there."""
    parameters = {name for name, _ in model.named_parameters() if ".router." not in name}
    kind = torch.float32 if dtype == "float32" else torch.bfloat16
    return {
        name: value.to(kind if name in parameters else value.dtype).contiguous()
        for name, value in model.state_dict().items()
    }


def _files(weights: Mapping[str, torch.Tensor], most: int) -> dict[str, dict[str, torch.Tensor]]:
    """Weights in order, a new file where the next one would make it too large."""
    parts: list[dict[str, torch.Tensor]] = [{}]
    size = 0
    for name, value in weights.items():
        if parts[-1] and size + value.nbytes > most:
            parts.append({})
            size = 0
        parts[-1][name] = value
        size += value.nbytes
    if len(parts) == 1:
        return {WEIGHTS: parts[0]}
    return {f"model-{n:05d}-of-{len(parts):05d}.safetensors": part for n, part in enumerate(parts, 1)}


def _index(files: Mapping[str, Mapping[str, torch.Tensor]]) -> bytes:
    total = sum(value.nbytes for held in files.values() for value in held.values())
    places = {name: file for file, held in files.items() for name in held}
    return json.dumps({"metadata": {"total_size": total}, "weight_map": places}, indent=1).encode()


def _names(folder: Path) -> list[str]:
    if not (folder / INDEX).exists():
        return [WEIGHTS]
    places = json.loads((folder / INDEX).read_bytes())["weight_map"]
    return sorted(set(places.values()))
