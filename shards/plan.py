"""The sources from which a dataset's clips are written."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from corpus.schemas.arrays import Int64Array
from corpus.schemas.errors import DatasetError, FormatError
from corpus.schemas.files import has_size
from corpus.shards.columns import ClipRow, arrow_schema, rows_table
from corpus.shards.cut import ROWS_FILE, SEGMENT_FILE

if TYPE_CHECKING:
    import pyarrow as pa

_BATCH_ROWS = 8192


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentRef:
    """The result of `cut` for one recording, and the digest of everything that went into it."""

    folder: Path
    recording: str
    """Content hash, 64 hex digits."""
    split: str
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A clip and the file its bytes are in, at the offsets its row names."""

    row: ClipRow
    file: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Pieces:
    """Many clips, as columns: a million rows are never a million objects."""

    table: pa.Table
    files: tuple[Path, ...]
    file_of_row: Int64Array

    @staticmethod
    def of(pieces: Sequence[Piece]) -> Pieces:
        number = {file: n for n, file in enumerate(dict.fromkeys(piece.file for piece in pieces))}
        return Pieces(
            table=rows_table([piece.row for piece in pieces]),
            files=tuple(number),
            file_of_row=np.array([number[piece.file] for piece in pieces], np.int64),
        )


def segment_pieces(segments: Iterable[SegmentRef]) -> Pieces:
    """The clips of cut recordings.

    Raises:
        DatasetError: a segment is cut off, or holds another recording.
        FormatError: its rows are not those that `cut` writes.
    """
    import pyarrow as pa

    tables: list[pa.Table] = []
    files: list[Path] = []
    counts: list[int] = []
    waiting: list[dict[str, Any]] = []
    for segment in segments:
        rows = _rows(segment)
        waiting += rows
        files.append(segment.folder / SEGMENT_FILE)
        counts.append(len(rows))
        # In batches: a table for each recording would be mostly overhead.
        if len(waiting) >= _BATCH_ROWS:
            tables.append(_table(waiting))
            waiting = []
    return Pieces(
        table=pa.concat_tables([*tables, _table(waiting)]),
        files=tuple(files),
        file_of_row=np.repeat(np.arange(len(counts), dtype=np.int64), counts),
    )


def _rows(segment: SegmentRef) -> list[dict[str, Any]]:
    path, file = segment.folder / ROWS_FILE, segment.folder / SEGMENT_FILE
    try:
        rows: list[dict[str, Any]] = json.loads(path.read_bytes())
        # A cache folder put under another name would put one recording's clips under another's key.
        whose = {(row["recording"], row["split"]) for row in rows}
        size = sum(row["size"] for row in rows)
    except (ValueError, KeyError, TypeError) as error:
        raise FormatError(f"cannot be read: {error}", where=str(path), todo="build again") from error
    if whose - {(segment.recording, segment.split)} or not has_size(file, size):
        raise DatasetError("the segment is not the one its rows describe", where=str(file))
    return rows


def _table(rows: list[dict[str, Any]]) -> pa.Table:
    import pyarrow as pa

    try:
        table = pa.Table.from_pylist(rows, schema=arrow_schema())
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise FormatError(f"rows of a segment cannot be read: {error}", todo="build again") from error
    for field in table.schema:
        if not field.nullable and table[field.name].null_count:
            raise FormatError(f"rows of a segment lack {field.name}", todo="build again")
    return table
