"""The rows of cut recordings, stored beside their segments."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from corpus.schemas.arrays import Int64Array
from corpus.schemas.errors import DatasetError, FormatError
from corpus.schemas.files import has_size
from corpus.shards.columns import arrow_schema
from corpus.shards.cut import ROWS_FILE, SEGMENT_FILE
from corpus.shards.index import ints

if TYPE_CHECKING:
    import pyarrow as pa

BATCH_SEGMENTS = 256
"""So many segments' rows are read before they are joined."""
_OLDER_FILE = "rows.json"
"""The same rows as `cut` wrote them before 2026-11-29."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentRef:
    """The result of `cut` for one recording, and the digest of everything that determined it."""

    folder: Path
    recording: str
    """Content hash, 64 hex digits."""
    split: str
    digest: str

    @property
    def id(self) -> bytes:
        """See `segment_id`."""
        return segment_id(self.recording, self.split, self.digest)


def segment_id(recording: str, split: str, digest: str) -> bytes:
    """32 bytes that stand for one recording's clips in a dataset."""
    return hashlib.sha256(f"{recording} {split} {digest}".encode()).digest()


class SegmentRows:
    """The rows of many segments, one segment after another, read on demand."""

    def __init__(self, segments: Sequence[SegmentRef], counts: Sequence[int]) -> None:
        self._segments = segments
        self._firsts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)

    def take(self, numbers: Int64Array) -> pa.Table:
        """The rows with these numbers, in this order; raises FormatError."""
        import pyarrow as pa

        if not len(numbers):
            return arrow_schema().empty_table()
        owners = np.searchsorted(self._firsts, numbers, side="right") - 1
        segments, place = np.unique(owners, return_inverse=True)
        batches = []
        for first in range(0, len(segments), BATCH_SEGMENTS):
            # Joined at once: a table of one clip takes a hundred times the memory of a row.
            tables = [_read(self._segments[segment]) for segment in segments[first : first + BATCH_SEGMENTS]]
            batches.append(pa.concat_tables(tables).combine_chunks())
        counts = self._firsts[segments + 1] - self._firsts[segments]
        starts = np.concatenate([[0], np.cumsum(counts)])
        within = numbers - self._firsts[owners] + starts[place]
        return pa.concat_tables(batches).combine_chunks().take(pa.array(within))


def rows_of(segments: Sequence[SegmentRef]) -> tuple[pa.Table, list[int]]:
    """The rows of the segments, and how many each of them has.

    Raises:
        DatasetError: a segment is cut off, or belongs to another recording.
        FormatError: its rows are not in the form written by `cut`.
    """
    import pyarrow as pa

    tables = [_read(segment) for segment in segments]
    counts = [len(table) for table in tables]
    table = pa.concat_tables(tables).combine_chunks()
    try:
        table.validate(full=True)
    except pa.ArrowInvalid as error:
        raise FormatError(f"rows of a segment cannot be read: {error}", todo="build again") from error
    for field in table.schema:
        if not field.nullable and table[field.name].null_count:
            raise FormatError(f"rows of a segment lack {field.name}", todo="build again")
    _check_segments(table, segments, counts)
    return table, counts


def _check_segments(table: pa.Table, segments: Sequence[SegmentRef], counts: Sequence[int]) -> None:
    """A cache folder put under another name would put one recording's clips under another's key."""
    import pyarrow as pa
    import pyarrow.compute as pc

    owners = np.repeat(np.arange(len(counts)), counts)
    wrong = np.zeros(len(segments), bool)
    for name in ("recording", "split"):
        promised = pa.array([getattr(segment, name) for segment in segments], pa.string())
        same = pc.equal(table[name].combine_chunks(), promised.take(pa.array(owners)))
        wrong[owners[~np.asarray(same.to_numpy(zero_copy_only=False), bool)]] = True
    bounds = np.concatenate([[0], np.cumsum(ints(table["size"]))])
    ends = np.cumsum(counts)
    sizes = bounds[ends] - bounds[ends - counts]
    for segment, size, is_wrong in zip(segments, sizes.tolist(), wrong.tolist(), strict=True):
        file = segment.folder / SEGMENT_FILE
        if is_wrong or not has_size(file, size):
            raise DatasetError("the segment is not the one its rows describe", where=str(file))


def _read(segment: SegmentRef) -> pa.Table:
    import pyarrow as pa

    path = segment.folder / ROWS_FILE
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return _read_older(segment.folder / _OLDER_FILE)
    try:
        with pa.ipc.open_stream(content) as stream:
            table = stream.read_all()
    except (pa.ArrowInvalid, OSError) as error:
        raise FormatError(f"cannot be read: {error}", where=str(path), todo="build again") from error
    if not table.schema.equals(arrow_schema()):
        raise FormatError("holds other columns than clips have", where=str(path), todo="build again")
    return table


def _read_older(path: Path) -> pa.Table:
    import pyarrow as pa

    try:
        return pa.Table.from_pylist(json.loads(path.read_bytes()), schema=arrow_schema())
    except (pa.ArrowException, AttributeError, ValueError, KeyError, TypeError) as error:
        raise FormatError(f"cannot be read: {error}", where=str(path), todo="build again") from error
