"""The sources from which a dataset's clips are written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, overload

import numpy as np

from corpus.schemas.arrays import Int64Array
from corpus.shards.columns import ClipRow, arrow_schema, rows_table
from corpus.shards.cut import SEGMENT_FILE
from corpus.shards.segment_rows import BATCH_SEGMENTS, SegmentRef, SegmentRows, rows_of

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Piece", "Pieces", "Rows", "SegmentRef", "joined", "narrowed", "placing", "segment_pieces"]

PLACING = ("key", "split", "recording", "offset", "size", "windows", "sha256")
"""Columns that say where clips go; the others are read when they are written."""
_REPEATED = frozenset(("split", "recording", "shard", "licence"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A clip and the file its bytes are in, at the offsets its row names."""

    row: ClipRow
    file: Path


class Rows(Protocol):
    """Anything that returns whole rows of clips by number."""

    def take(self, numbers: Int64Array) -> pa.Table:
        """The rows with these numbers, in this order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pieces:
    """Many clips: even for a million, only the columns needed for layout are in memory."""

    placing: pa.Table
    """Of `placing`."""
    rows: Rows
    numbers: Int64Array
    """The clips' numbers in `rows`."""
    files: Sequence[Path]
    file_of_row: Int64Array

    @staticmethod
    def of(pieces: Sequence[Piece]) -> Pieces:
        number = {file: n for n, file in enumerate(dict.fromkeys(piece.file for piece in pieces))}
        table = rows_table([piece.row for piece in pieces])
        return Pieces(
            placing=joined([placing(table)]),
            rows=table,
            numbers=np.arange(len(table), dtype=np.int64),
            files=tuple(number),
            file_of_row=np.array([number[piece.file] for piece in pieces], np.int64),
        )


def placing(table: pa.Table, *more: str) -> pa.Table:
    """The columns needed to lay out these rows, and further ones; repeated text is stored once."""
    return narrowed(table, (*PLACING, *more))


def narrowed(table: pa.Table, names: Sequence[str]) -> pa.Table:
    """Some columns, copied so that they hold no more memory than they need."""
    import pyarrow as pa

    columns = {
        name: table[name].dictionary_encode() if name in _REPEATED else pa.concat_arrays(table[name].chunks)
        for name in names
    }
    return pa.table(columns)


def joined(tables: Sequence[pa.Table]) -> pa.Table:
    """Tables with the same columns joined into one, with one dictionary per column."""
    import pyarrow as pa

    return pa.concat_tables(tables).unify_dictionaries().combine_chunks()


def segment_pieces(segments: Sequence[SegmentRef]) -> Pieces:
    """The clips of cut recordings; raises like `rows_of`."""
    tables = [placing(arrow_schema().empty_table())]
    counts: list[int] = []
    for first in range(0, len(segments), BATCH_SEGMENTS):
        table, batch_counts = rows_of(segments[first : first + BATCH_SEGMENTS])
        tables.append(placing(table))
        counts += batch_counts
    table = joined(tables)
    return Pieces(
        placing=table,
        rows=SegmentRows(segments, counts),
        numbers=np.arange(len(table), dtype=np.int64),
        files=_Files(segments),
        file_of_row=np.repeat(np.arange(len(counts), dtype=np.int64), counts),
    )


class _Files(Sequence[Path]):
    """The files of segments: a million paths are never in memory together."""

    def __init__(self, segments: Sequence[SegmentRef]) -> None:
        self._segments = segments

    def __len__(self) -> int:
        return len(self._segments)

    @overload
    def __getitem__(self, number: int) -> Path: ...
    @overload
    def __getitem__(self, number: slice) -> list[Path]: ...
    def __getitem__(self, number: int | slice) -> Path | list[Path]:
        if isinstance(number, slice):
            return [one.folder / SEGMENT_FILE for one in self._segments[number]]
        return self._segments[number].folder / SEGMENT_FILE
