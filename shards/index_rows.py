"""Rows of a clips.parquet, one row group at a time: the rows of a million clips are never all in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from corpus.schemas.arrays import Int64Array
from corpus.shards.columns import ADDED, arrow_schema
from corpus.shards.index import as_written, opened, per_member

if TYPE_CHECKING:
    import pyarrow as pa


class IndexRows:
    """The index of a dataset, open."""

    def __init__(self, path: Path) -> None:
        """Open it.

        Raises:
            FormatError: it cannot be read.
        """
        self._path = path
        self._file = opened(path)
        head = self._file.metadata
        counts = [head.row_group(number).num_rows for number in range(head.num_row_groups)]
        self._firsts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        self._last: tuple[int, pa.Table] | None = None

    @property
    def is_complete(self) -> bool:
        """Whether no column is missing."""
        return (set(arrow_schema().names) - ADDED).issubset(self._file.schema_arrow.names)

    def groups(self, names: Sequence[str]) -> Iterator[pa.Table]:
        """These columns of all rows; raises FormatError like `read_index`."""
        for number in range(len(self._firsts) - 1):
            yield as_written(self._file, names, self._path, group=number)

    def take(self, numbers: Int64Array) -> pa.Table:
        """The rows with these numbers, in this order; raises FormatError like `read_index`."""
        import pyarrow as pa

        ascending = np.sort(numbers)
        groups = np.searchsorted(self._firsts, ascending, side="right") - 1
        tables = [
            taken(self._group(int(group)), ascending[groups == group] - self._firsts[group])
            for group in np.unique(groups)
        ]
        table = pa.concat_tables(tables) if tables else arrow_schema().empty_table()
        return taken(table, np.searchsorted(ascending, numbers))

    def _group(self, number: int) -> pa.Table:
        if self._last is None or self._last[0] != number:
            self._last = None
            table = as_written(self._file, arrow_schema().names, self._path, group=number)
            per_member(table["member_offsets"])
            self._last = number, table
        return self._last[1]


def taken(table: pa.Table, numbers: Int64Array) -> pa.Table:
    """The rows with these numbers, which are not copied where they follow one another."""
    import pyarrow as pa

    first = int(numbers[0]) if len(numbers) else 0
    if np.array_equal(numbers, np.arange(first, first + len(numbers))):
        return table.slice(first, len(numbers))
    return table.take(pa.array(numbers))
