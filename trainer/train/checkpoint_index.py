"""Where a checkpoint's tensors are in its files: index.json instead of torch's pickled `.metadata`.

Reading a pickle can run code, and people share checkpoints. So the index is JSON and is checked before use,
and torch reads the tensors with `weights_only`. checkpoint_pickled.py reads the `.metadata` of
`corpus.checkpoint/1`.
"""

from __future__ import annotations

from collections.abc import Iterable
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
"""The index of `corpus.checkpoint/1`."""

_DTYPES = {str(dtype): dtype for dtype in (torch.float32, torch.bfloat16, torch.float64, torch.int64)}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Chunk:
    """The block of a tensor that one rank wrote."""

    start: tuple[int, ...]
    """Index of its first element in the whole tensor."""
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
        # Torch pickles `metadata` here; the index holds everything in it that reading needs.
        metadata.storage_data = {item.index: item.storage_data for each in results for item in each}
        index = _index_of(metadata, str(self.path))
        write_whole(Path(self.path) / INDEX, (to_json(index) + "\n").encode())


class IndexReader(FileSystemReader):
    """Torch's checkpoint reader, except for the index: this form or the older, pickled one."""

    def __init__(self, path: Path, files: Iterable[str]) -> None:
        """`files` are those with verified digests; no others are opened. Raises: FormatError."""
        super().__init__(path)
        self._index = read_index(path, frozenset(files))

    def read_metadata(self, *args: Any, **kwargs: Any) -> dcp.Metadata:
        metadata = _metadata_of(self._index)
        metadata.storage_meta = dcp.StorageMeta(load_id=self.load_id)
        return metadata


def read_index(folder: Path, files: frozenset[str]) -> _CheckpointIndex:
    """The index of a checkpoint, with every value checked.

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
            # The rank's file that holds this block, and the place of its bytes there.
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


def _unpickled(path: Path) -> _CheckpointIndex:
    """The index of the older form."""
    from corpus.trainer.train.checkpoint_pickled import unpickled

    try:
        metadata = unpickled(path)
        if not isinstance(metadata, dcp.Metadata):
            raise FormatError("is not the index of a checkpoint", where=str(path))
        # The values are still not to be trusted: as JSON they are checked like those of the newer form.
        return from_json(_CheckpointIndex, to_json(_index_of(metadata, str(path))), where=str(path))
    except FormatError:
        raise
    except Exception as error:  # a pickle that was tampered with may fail in any way
        why = f"{type(error).__name__}: {error}"
        raise FormatError(f"cannot be read safely: {why}", where=str(path)) from error
