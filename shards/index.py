"""clips.parquet as a whole: read, put in order, and laid out in shards. Rows stay columns throughout."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from corpus.schemas.arrays import Int64Array
from corpus.schemas.clip import MEMBERS
from corpus.schemas.dataset import CLIPS_FILE, SPLITS
from corpus.schemas.errors import DatasetError, FormatError
from corpus.schemas.files import inside
from corpus.shards.columns import ADDED, ClipRow, arrow_schema, rows_table, table_rows
from corpus.shards.ends import shard_ends
from corpus.shards.plan import Piece
from corpus.shards.tar import END

if TYPE_CHECKING:
    import pyarrow as pa


_UNREADABLE = (OSError, KeyError, ValueError, TypeError, NotImplementedError, MemoryError, OverflowError)
"""What pyarrow raises on damaged files; its own errors are among these."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Clips that are contiguous in a file."""

    file: Path
    offset: int
    sizes: tuple[int, ...]
    sha256s: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedShard:
    """A planned shard: a stretch of rows of the index."""

    path: str
    split: str
    first: int
    stop: int
    bytes: int
    windows: int

    @property
    def clips(self) -> int:
        return self.stop - self.first


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The new index, its shards, and where each clip's bytes are now."""

    table: pa.Table
    shards: tuple[PlannedShard, ...]
    sha256s: tuple[str, ...]
    sizes: Int64Array
    files: tuple[Path, ...]
    file_of_row: Int64Array
    offset_in_file: Int64Array

    def runs(self, shard: PlannedShard) -> Iterator[Run]:
        """The shard's clips, joined where they are contiguous already."""
        start = shard.first
        for row in range(shard.first + 1, shard.stop + 1):
            if row < shard.stop and self._follows(row):
                continue
            yield Run(
                file=self.files[int(self.file_of_row[start])],
                offset=int(self.offset_in_file[start]),
                sizes=tuple(self.sizes[start:row].tolist()),
                sha256s=self.sha256s[start:row],
            )
            start = row

    def _follows(self, row: int) -> bool:
        same = self.file_of_row[row] == self.file_of_row[row - 1]
        return bool(same and self.offset_in_file[row] == self.offset_in_file[row - 1] + self.sizes[row - 1])


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


def lay_out(
    kept: pa.Table | None, kept_files: Mapping[str, Path], new: Sequence[Piece], target_bytes: int
) -> Layout:
    """All clips in order of split and key, in shards. `kept` rows are in the shards that `kept_files` names.

    Raises:
        DatasetError: two clips have the same key.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    files = list(dict.fromkeys([*kept_files.values(), *(piece.file for piece in new)]))
    # Files as small numbers, so that a million rows sort as arrays.
    number = {file: n for n, file in enumerate(files)}
    file_of = [number[kept_files[shard]] for shard in texts(kept["shard"])] if kept is not None else []
    file_of += [number[piece.file] for piece in new]
    rows = rows_table([piece.row for piece in new])
    table = pa.concat_tables([kept, rows]) if kept is not None else rows
    # Splits in their own order, not the alphabet's.
    ranks = [SPLITS.index(split) for split in texts(table["split"])]
    by = table.select(["key"]).append_column("rank", pa.array(ranks, pa.int8()))
    order = pc.sort_indices(by, [("rank", "ascending"), ("key", "ascending")])
    table, order = table.take(order).combine_chunks(), np.asarray(order.to_numpy(), np.int64)
    keys = texts(table["key"])
    _refuse_twice(keys)
    sizes, old_offsets = ints(table["size"]), ints(table["offset"])
    shards = tuple(
        _shards(np.array(ranks, np.int64)[order], keys, sizes, ints(table["windows"]), target_bytes)
    )
    return Layout(
        table=_moved(table, shards, sizes, old_offsets),
        shards=shards,
        sha256s=tuple(texts(table["sha256"])),
        sizes=sizes,
        files=tuple(files),
        file_of_row=np.array(file_of, np.int64)[order],
        offset_in_file=old_offsets,
    )


def _refuse_twice(keys: Sequence[str]) -> None:
    seen: set[str] = set()
    for key in keys:
        if key in seen:
            raise DatasetError(f"two clips have the key {key}", todo="the same recording is given twice")
        seen.add(key)


def _shards(
    ranks: Int64Array, keys: Sequence[str], sizes: Int64Array, windows: Int64Array, target_bytes: int
) -> Iterator[PlannedShard]:
    for rank, split in enumerate(SPLITS):
        first, stop = np.searchsorted(ranks, [rank, rank + 1]).tolist()
        at = first
        for number, end in enumerate(shard_ends(keys[first:stop], sizes[first:stop], target_bytes)):
            yield PlannedShard(
                path=f"{split}/{split}-{number:06d}.tar",
                split=split,
                first=at,
                stop=first + end,
                bytes=int(sizes[at : first + end].sum()) + len(END),
                windows=int(windows[at : first + end].sum()),
            )
            at = first + end


def _moved(
    table: pa.Table, shards: Sequence[PlannedShard], sizes: Int64Array, old_offsets: Int64Array
) -> pa.Table:
    """The rows with their new shards and offsets."""
    import pyarrow as pa

    schema = arrow_schema()
    offsets = np.zeros(len(sizes), np.int64)
    paths: list[str] = []
    for shard in shards:
        here = sizes[shard.first : shard.stop]
        offsets[shard.first : shard.stop] = np.cumsum(here) - here
        paths += [shard.path] * shard.clips
    flat = np.asarray(table["member_offsets"].combine_chunks().flatten().to_numpy(), np.int64)
    # Members keep their distance from the clip's start.
    members = flat.reshape(-1, len(MEMBERS)) + (offsets - old_offsets)[:, None]
    bounds = np.arange(len(sizes) + 1, dtype=np.int32) * len(MEMBERS)
    columns = {
        "shard": pa.array(paths, pa.string()),
        "offset": pa.array(offsets, pa.int64()),
        "member_offsets": pa.ListArray.from_arrays(
            pa.array(bounds, pa.int32()),
            pa.array(members.reshape(-1), pa.int64()),
            type=schema.field("member_offsets").type,
        ),
    }
    for name, column in columns.items():
        position = schema.get_field_index(name)
        table = table.set_column(position, schema.field(position), column)
    return table
