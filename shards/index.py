"""clips.parquet as a whole, read: rows stay columns throughout."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from corpus.schemas.arrays import Int64Array
from corpus.schemas.dataset import CLIPS_FILE
from corpus.schemas.errors import FormatError
from corpus.schemas.files import inside
from corpus.shards.columns import ADDED, ClipRow, arrow_schema, table_rows

if TYPE_CHECKING:
    import pyarrow as pa


_UNREADABLE = (OSError, KeyError, ValueError, TypeError, NotImplementedError, MemoryError, OverflowError)
"""What pyarrow raises on damaged files; its own errors are among these."""


def read_index(out: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """The rows of a dataset's clips.parquet, or some of its columns, of the types this project writes.

    Raises:
        FormatError: it cannot be read, lacks a column, or a value is missing or of another type.
        DatasetError: it leads out of the folder.
    """
    return read_index_file(inside(out, CLIPS_FILE), columns)


def read_index_file(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """As `read_index`, of a clips.parquet that may lie elsewhere."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = arrow_schema().names if columns is None else list(columns)
    schema = pa.schema([arrow_schema().field(name) for name in names])
    try:
        file = pq.ParquetFile(path)
        there = [name for name in names if name not in ADDED or name in file.schema_arrow.names]
        table = file.read(columns=there)
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


def _no_index(path: Path, reason: object) -> FormatError:
    todo = "copy the dataset again, or run corpus build again"
    return FormatError(f"clips.parquet cannot be read: {reason}", where=str(path), todo=todo)


def read_rows(out: Path) -> list[ClipRow]:
    """The rows one by one; raises as `read_index`."""
    import pyarrow.parquet as pq

    path = inside(out, CLIPS_FILE)
    try:
        return list(table_rows(pq.ParquetFile(path).read(), where=str(path)))
    except _UNREADABLE as error:
        raise _no_index(path, error) from error


def ints(column: pa.ChunkedArray) -> Int64Array:
    """A column of whole numbers, none of them missing."""
    return np.asarray(column.to_numpy(), np.int64)


def texts(column: pa.ChunkedArray) -> list[str]:
    strings: list[str] = column.to_pylist()
    return strings
