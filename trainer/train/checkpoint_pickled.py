"""Reads the index of a checkpoint of `corpus.checkpoint/1`: torch's pickled `.metadata`.

Reading a pickle can run code. This unpickler knows only torch's own record classes and refuses every other
name before anything is called. The values it returns are still to be checked.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint import filesystem
from torch.distributed.checkpoint import metadata as dcp


def unpickled(path: Path) -> object:
    """The object in a file. Raises: OSError, or any error for a pickle that was tampered with."""
    with path.open("rb") as file:
        return _Unpickler(file).load()


class _Path:
    """Stands in for the path that torch recorded, which is not needed."""

    def __init__(self, *parts: object) -> None:
        pass


def _layout(name: str) -> torch.layout:
    if name != "torch.strided":
        raise pickle.UnpicklingError(f"a tensor that is {name}")
    return torch.strided


_KNOWN: dict[tuple[str, str], Callable[..., Any] | torch.dtype] = {
    **{
        ("torch.distributed.checkpoint.metadata", kind.__name__): kind
        for kind in (
            dcp.Metadata,
            dcp.MetadataIndex,
            dcp.TensorStorageMetadata,
            dcp.TensorProperties,
            dcp.ChunkStorageMetadata,
            dcp.StorageMeta,
            dcp._MEM_FORMAT_ENCODING,
        )
    },
    ("torch.distributed.checkpoint.filesystem", "_StorageInfo"): filesystem._StorageInfo,
    ("torch", "Size"): torch.Size,
    ("torch.serialization", "_get_layout"): _layout,
    **{("torch", name): getattr(torch, name) for name in ("float32", "bfloat16", "float64", "int64")},
    **{(module, "PosixPath"): _Path for module in ("pathlib", "pathlib._local")},
}


class _Unpickler(pickle.Unpickler):
    """Creates only what `_KNOWN` lists."""

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _KNOWN[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it names {module}.{name}") from None
