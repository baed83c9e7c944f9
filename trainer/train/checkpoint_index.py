"""Where a checkpoint's tensors are in its files: index.json instead of torch's pickled `.metadata`.

Reading a pickle can run code, and checkpoints travel. So the index is JSON, checked before use, and the
tensors are read by torch with `weights_only`. The `.metadata` of a checkpoint of `corpus.checkpoint/1` is
read by an unpickler that knows torch's own record classes and nothing else.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint import filesystem
from torch.distributed.checkpoint import metadata as dcp
from torch.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.storage import WriteResult

from corpus.schemas.codec import from_json, to_json
from corpus.schemas.errors import FormatError
from corpus.schemas.files import write_whole

INDEX = "index.json"
PICKLED = ".metadata"
"""What `corpus.checkpoint/1` has instead."""

_DTYPES = {str(dtype): dtype for dtype in (torch.float32, torch.bfloat16, torch.float64, torch.int64)}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Chunk:
    """A block of a tensor, as one rank wrote it."""

    start: tuple[int, ...]
    """Its first element in the whole tensor, a number a dimension."""
    size: tuple[int, ...]
    file: str
    first_byte: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _TensorEntry:
    name: str
    dtype: str
    size: tuple[int, ...]
    chunks: tuple[_Chunk, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _CheckpointIndex:
    """index.json."""

    schema: str = "corpus.checkpoint-index/1"
    tensors: tuple[_TensorEntry, ...]


class IndexWriter(FileSystemWriter):
    """Torch's checkpoint writer, except for the index."""

    def finish(self, metadata: dcp.Metadata, results: list[list[WriteResult]]) -> None:
        # Torch pickles `metadata` here; everything of it that reading needs fits into the index.
        metadata.storage_data = {item.index: item.storage_data for each in results for item in each}
        index = _index_of(metadata, str(self.path))
        write_whole(Path(self.path) / INDEX, (to_json(index) + "\n").encode())


class IndexReader(FileSystemReader):
    """Torch's checkpoint reader, except for the index: this form or the older, pickled one."""

    def __init__(self, path: Path, files: Iterable[str]) -> None:
        """`files` are those whose digests were compared: nothing else is opened. Raises: FormatError."""
        super().__init__(path)
        self._index = read_index(path, frozenset(files))

    def read_metadata(self, *args: Any, **kwargs: Any) -> dcp.Metadata:
        metadata = _metadata_of(self._index)
        metadata.storage_meta = dcp.StorageMeta(load_id=self.load_id)
        return metadata


def read_index(folder: Path, files: frozenset[str]) -> _CheckpointIndex:
    """The index of a checkpoint, each of its values checked.

    Raises: FormatError.
    """
    if INDEX in files:
        index = from_json(_CheckpointIndex, (folder / INDEX).read_bytes(), where=str(folder / INDEX))
    elif PICKLED in files:
        index = _unpickled(folder / PICKLED)
    else:
        raise FormatError(f"lists no {INDEX}", where=str(folder))
    # The index comes from outside: sizes, offsets and names are checked before use.
    for tensor in index.tensors:
        if tensor.dtype not in _DTYPES:
            raise FormatError(f"{tensor.name} holds {tensor.dtype}", where=str(folder))
        for chunk in tensor.chunks:
            _check_chunk(tensor, chunk, files, str(folder))
    return index


def _check_chunk(tensor: _TensorEntry, chunk: _Chunk, files: frozenset[str], where: str) -> None:
    """Require that a chunk lies inside its tensor, and in a file that the checkpoint lists."""
    if chunk.file not in files:
        raise FormatError(
            f"{tensor.name} refers to {chunk.file!r}, which the checkpoint does not list", where=where
        )
    inside = len(chunk.start) == len(chunk.size) == len(tensor.size) and all(
        min(start, size) >= 0 and start + size <= whole
        for start, size, whole in zip(chunk.start, chunk.size, tensor.size, strict=True)
    )
    if not inside or chunk.first_byte < 0 or chunk.bytes < 0:
        raise FormatError(f"a part of {tensor.name} lies outside it", where=where)


def _index_of(metadata: dcp.Metadata, where: str) -> _CheckpointIndex:
    """Raises: FormatError if something other than tensors is stored, which torch would pickle."""
    entries = []
    for name, stored in metadata.state_dict_metadata.items():
        if not isinstance(stored, dcp.TensorStorageMetadata):
            raise FormatError(f"{name} is not a tensor", where=where)
        chunks = []
        for chunk in stored.chunks:
            # Where the bytes of this block lie, in which rank's file.
            lies = metadata.storage_data[dcp.MetadataIndex(name, chunk.offsets)]
            if not isinstance(lies, filesystem._StorageInfo) or lies.transform_descriptors:
                raise FormatError(f"{name} is stored in an unknown form", where=where)
            chunks.append(
                _Chunk(
                    start=tuple(chunk.offsets),
                    size=tuple(chunk.sizes),
                    file=str(lies.relative_path),
                    first_byte=lies.offset,
                    bytes=lies.length,
                )
            )
        entry = _TensorEntry(
            name=name,
            dtype=str(stored.properties.dtype),
            size=tuple(stored.size),
            chunks=tuple(chunks),
        )
        entries.append(entry)
    return _CheckpointIndex(tensors=tuple(sorted(entries, key=lambda entry: entry.name)))


def _metadata_of(index: _CheckpointIndex) -> dcp.Metadata:
    stored: dict[str, Any] = {}
    lies: dict[dcp.MetadataIndex, filesystem._StorageInfo] = {}
    for entry in index.tensors:
        stored[entry.name] = dcp.TensorStorageMetadata(
            properties=dcp.TensorProperties(dtype=_DTYPES[entry.dtype]),
            size=torch.Size(entry.size),
            chunks=[
                dcp.ChunkStorageMetadata(offsets=torch.Size(chunk.start), sizes=torch.Size(chunk.size))
                for chunk in entry.chunks
            ],
        )
        for chunk in entry.chunks:
            index_key = dcp.MetadataIndex(entry.name, chunk.start)
            lies[index_key] = filesystem._StorageInfo(chunk.file, chunk.first_byte, chunk.bytes)
    return dcp.Metadata(state_dict_metadata=stored, storage_data=lies)


# The older form


def _unpickled(path: Path) -> _CheckpointIndex:
    try:
        with path.open("rb") as file:
            metadata = _Unpickler(file).load()
        if not isinstance(metadata, dcp.Metadata):
            raise FormatError("is not the index of a checkpoint", where=str(path))
        # The values are still a stranger's: as JSON they are checked like those of the newer form.
        return from_json(_CheckpointIndex, to_json(_index_of(metadata, str(path))), where=str(path))
    except FormatError:
        raise
    except Exception as error:  # a pickle that was tampered with may fail in any way
        why = f"{type(error).__name__}: {error}"
        raise FormatError(f"cannot be read safely: {why}", where=str(path)) from error


class _Path:
    """Replaces the path that torch recorded and nobody needs."""

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
    **{("torch", name.removeprefix("torch.")): dtype for name, dtype in _DTYPES.items()},
    **{(module, "PosixPath"): _Path for module in ("pathlib", "pathlib._local")},
}


class _Unpickler(pickle.Unpickler):
    """Creates only what is listed above; every other name is refused before anything is called."""

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _KNOWN[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it names {module}.{name}") from None
