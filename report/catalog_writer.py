"""Rows on their way into the catalog's tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from corpus.report.catalog_piece import as_table, catalog_tables, read_piece
from corpus.report.catalog_rows import Row

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

_BATCH_ROWS = 20_000
_BATCH_OF_PIECES = 122_880
"""Rows of a row group in DuckDB, which takes a quarter less time than fewer."""
_SMALL_TABLES = 256
"""So many tables wait before they are joined: one of a single row takes a hundred times its memory."""


class Writer:
    """Rows collected per table and inserted as Arrow tables, a batch at a time."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        self._rows: dict[str, list[Row]] = {}
        self._pieces: dict[str, list[pa.Table]] = {}
        self._joined: Counter[str] = Counter()
        """How many tables in `_pieces` are joined; they come first."""
        self._waiting: Counter[str] = Counter()
        """Rows in `_pieces`."""

    def add(self, table: str, rows: Iterable[Row]) -> None:
        waiting = self._rows.setdefault(table, [])
        for row in rows:
            waiting.append(row)
            if len(waiting) >= _BATCH_ROWS:
                self._insert_rows(table)

    def add_piece(self, folder: Path) -> None:
        """A recording's rows, from its piece: no row becomes a Python object."""
        for name, rows in read_piece(folder):
            if not len(rows):
                continue
            pieces = self._pieces.setdefault(name, [])
            pieces.append(rows)
            self._waiting[name] += len(rows)
            if self._waiting[name] >= _BATCH_OF_PIECES:
                self._insert_pieces(name)
            elif len(pieces) - self._joined[name] >= _SMALL_TABLES:
                pieces[self._joined[name] :] = [_joined(pieces[self._joined[name] :])]
                self._joined[name] += 1

    def flush(self) -> None:
        for table in self._rows:
            self._insert_rows(table)
        for table in self._pieces:
            self._insert_pieces(table)

    def _insert_rows(self, table: str) -> None:
        if rows := self._rows[table]:
            self._insert(table, as_table(rows, catalog_tables()[table]))
            rows.clear()

    def _insert_pieces(self, table: str) -> None:
        if pieces := self._pieces[table]:
            self._insert(table, _joined(pieces))
            pieces.clear()
            self._joined[table] = self._waiting[table] = 0

    def _insert(self, table: str, rows: pa.Table) -> None:
        self._connection.register("batch", rows)
        self._connection.execute(f"INSERT INTO {table} SELECT * FROM batch")
        self._connection.unregister("batch")


def _joined(tables: Sequence[pa.Table]) -> pa.Table:
    import pyarrow as pa

    return pa.concat_tables(tables).combine_chunks()
