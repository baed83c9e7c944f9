"""Export a trained model as safetensors with a config.json, readable without the run.

FOLDER/config.json                         the model's configuration
FOLDER/model.safetensors                   its weights; large ones as model-00001-of-0000n.safetensors
FOLDER/model.safetensors.index.json        for several files, which one holds which weight
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch

from corpus.schemas.codec import to_json
from corpus.schemas.errors import StorageError, UsageError
from corpus.schemas.files import write_whole
from corpus.trainer.data.tokenizer_file import keep_tokenizer
from corpus.trainer.model.model import InteractionModel
from corpus.trainer.train.exported import CONFIG_NAME, INDEX, WEIGHTS, Dtype, ExportConfig
from corpus.trainer.train.load_model import load_model

FILE_BYTES = 5_000_000_000


def export(
    run: Path,
    folder: Path,
    *,
    step: int | None = None,
    ema: bool = False,
    dtype: Dtype = "float32",
    file_bytes: int = FILE_BYTES,
) -> list[Path]:
    """Write a run's model into a new or empty folder; returns the files written.

    Router biases always stay fp32, because they move in steps of a thousandth.

    Raises: UsageError if the folder is not empty, StorageError if it cannot be written, and the errors of
    `load_model`.
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
            (folder / name).chmod(0o644)  # the library makes it readable by its owner only
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
        # Last: a folder without it is not an exported model.
        write_whole(folder / CONFIG_NAME, (to_json(head, indent=2) + "\n").encode())
    except OSError as error:
        raise StorageError(f"cannot be written: {error.strerror}", where=str(folder)) from error
    return sorted(folder.iterdir())


def _weights(model: InteractionModel, dtype: Dtype) -> dict[str, torch.Tensor]:
    """The weights in a type. Routers keep their precision: rounded, they would sometimes choose others."""
    parameters = {name for name, _ in model.named_parameters() if ".router." not in name}
    kind = torch.float32 if dtype == "float32" else torch.bfloat16
    return {
        name: value.to(kind if name in parameters else value.dtype).contiguous()
        for name, value in model.state_dict().items()
    }


def _files(weights: Mapping[str, torch.Tensor], most: int) -> dict[str, dict[str, torch.Tensor]]:
    """Distribute weights over files in order; a new file begins when a weight would make one too large."""
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
    file_of = {name: file for file, held in files.items() for name in held}
    return json.dumps({"metadata": {"total_size": total}, "weight_map": file_of}, indent=1).encode()
