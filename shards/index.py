"""Opening a dataset: its manifest, and the whole of clips.parquet, kept as columns throughout."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from corpus.schemas.arrays import Int64Array
from corpus.schemas.clip import CLIP_FORM, MEMBERS, ClipHead
from corpus.schemas.codec import from_json, reads
from corpus.schemas.dataset import CLIPS_FILE, MANIFEST_FILE, Manifest
from corpus.schemas.errors import DatasetError, FormatError, NewerSchemaError
from corpus.schemas.files import inside
from corpus.shards.columns import ADDED, ClipRow, arrow_schema, table_rows

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

_LEAST_ROW_BYTES = 16
_MOST_UNPACKED, _MOST_TIMES = 1 << 20, 200
"""Bytes, and how many times its size, that clips.parquet may unpack to."""

_UNREADABLE = (OSError, KeyError, ValueError, TypeError, NotImplementedError, MemoryError, OverflowError)
"""What pyarrow raises on damaged files; its own errors are among these."""


def read_index(out: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """The rows of a dataset's clips.parquet, or some of its columns, of the types this project writes.

    Raises:
        FormatError: the file cannot be read, lacks a column, or a value is missing or of another type.
        DatasetError: its path leads out of the folder.
    """
    return _read_index_file(inside(out, CLIPS_FILE), columns)


def _read_index_file(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """As `read_index`, of a clips.parquet that may lie elsewhere."""
    names = arrow_schema().names if columns is None else list(columns)
    return as_written(opened(path), names, path)


def as_written(
    file: pq.ParquetFile, names: Sequence[str], path: Path, *, group: int | None = None
) -> pa.Table:
    """Columns of the rows, or of one group of them, with the types this project writes.

    Raises:
        FormatError: like `read_index`.
    """
    import pyarrow as pa

    schema = pa.schema([arrow_schema().field(name) for name in names])
    try:
        there = [name for name in names if name not in ADDED or name in file.schema_arrow.names]
        table = file.read(columns=there) if group is None else file.read_row_group(group, columns=there)
        for name in names:
            if name not in there:
                table = table.append_column(schema.field(name), pa.nulls(len(table), schema.field(name).type))
        table = table.select(names).cast(schema)
        table.validate(full=True)  # else text that is no UTF-8 is met where it is used
    except _UNREADABLE as error:
        raise _no_index(path, error) from error
    for field in schema:
        if not field.nullable and table[field.name].null_count:
            raise _no_index(path, f"{field.name} is missing in some rows")
    return table


def opened(path: Path) -> pq.ParquetFile:
    """An open clips.parquet; raises FormatError like `read_index`."""
    try:
        return _opened(path)
    except _UNREADABLE as error:
        raise _no_index(path, error) from error


def _opened(path: Path) -> pq.ParquetFile:
    """The file, unless a few kilobytes of it unpack to more than fits in memory; raises ValueError."""
    import pyarrow.parquet as pq

    file, size = pq.ParquetFile(path), path.stat().st_size
    head = file.metadata
    # Every row has a digest of its own, which nothing can pack below 32 bytes.
    if head.num_rows * _LEAST_ROW_BYTES > size:
        raise ValueError(f"it says that {size} bytes hold {head.num_rows} rows")
    groups = [head.row_group(number) for number in range(head.num_row_groups)]
    unpacked = sum(group.total_byte_size for group in groups)
    if unpacked > _MOST_UNPACKED + _MOST_TIMES * size:
        raise ValueError(f"its {size} bytes unpack to {unpacked}")
    values = max((group.column(n).num_values for group in groups for n in range(head.num_columns)), default=0)
    if values > _MOST_UNPACKED + _MOST_TIMES * size:
        raise ValueError(f"it says that {size} bytes hold {values} values")
    return file


def read_columns(index: Path, split: str | None, names: Sequence[str]) -> pa.Table:
    """Columns of a clips.parquet (all of them if none is named), for the rows of one split or of all.

    Raises:
        FormatError: it cannot be read.
    """
    import pyarrow.compute as pc

    table = _read_index_file(index, ["split", *names] if names else None)
    return table if split is None else table.filter(pc.equal(table["split"], split))


def _no_index(path: Path, reason: object) -> FormatError:
    todo = "copy the dataset again, or run corpus build again"
    return FormatError(f"clips.parquet cannot be read: {reason}", where=str(path), todo=todo)


def read_rows(out: Path) -> list[ClipRow]:
    """The rows one by one; raises like `read_index`."""
    path = inside(out, CLIPS_FILE)
    try:
        return list(table_rows(_opened(path).read(), where=str(path)))
    except _UNREADABLE as error:
        raise _no_index(path, error) from error


def ints(column: pa.ChunkedArray) -> Int64Array:
    """A column of whole numbers without missing ones."""
    return np.asarray(column.to_numpy(), np.int64)


def per_member(column: pa.ChunkedArray) -> Int64Array:
    """A list column of a whole number for each member, as `[rows, members]` without a copy.

    Raises:
        FormatError: a row lists more or fewer.
    """
    import pyarrow.compute as pc

    flat = column.combine_chunks().flatten().to_numpy()
    lengths = np.asarray(pc.list_value_length(column).to_numpy())
    if (lengths != len(MEMBERS)).any():
        what = f"clips.parquet does not list {len(MEMBERS)} members for every clip"
        todo = "copy the dataset again, or remove clips.parquet and run corpus build again"
        raise FormatError(what, todo=todo)
    return np.asarray(flat, np.int64).reshape(-1, len(MEMBERS))


def texts(column: pa.ChunkedArray) -> list[str]:
    strings: list[str] = column.to_pylist()
    return strings


def no_dataset(where: str) -> DatasetError:
    todo = "run corpus build; if one was interrupted, run it again"
    return DatasetError("contains no finished dataset: manifest.json is missing", where=where, todo=todo)


def parsed_manifest(text: bytes, out: str) -> Manifest:
    """The manifest, if its clips can be read by this version."""
    try:
        manifest = from_json(Manifest, text, where=f"{out}/{MANIFEST_FILE}")
    except NewerSchemaError:
        raise
    except FormatError as error:
        todo = "put a good copy in its place, or remove it and run corpus build again"
        raise FormatError(error.what, where=error.where, todo=todo) from error
    if not reads(ClipHead, manifest.clip_schema):
        what = f"its clips are {manifest.clip_schema}, this version reads {CLIP_FORM}"
        raise DatasetError(what, where=out, todo="build the dataset again with this version")
    return manifest
