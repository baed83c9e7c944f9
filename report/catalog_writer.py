"""Rows on their way into the catalog's tables."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from corpus.report.catalog_rows import Row

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

_BATCH_ROWS = 20_000


class Writer:
    """Rows collected per table and inserted as Arrow tables, a batch at a time."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        self._rows: dict[str, list[Row]] = {}

    def add(self, table: str, rows: Iterable[Row]) -> None:
        waiting = self._rows.setdefault(table, [])
        for row in rows:
            waiting.append(row)
            if len(waiting) >= _BATCH_ROWS:
                self._insert(table)

    def flush(self) -> None:
        for table in self._rows:
            self._insert(table)

    def _insert(self, table: str) -> None:
        import pyarrow as pa

        rows = self._rows[table]
        if not rows:
            return
        schema = self._schema(table)
        columns = [
            pa.array(values, field.type)
            for values, field in zip(zip(*rows, strict=True), schema, strict=True)
        ]
        self._connection.register("batch", pa.Table.from_arrays(columns, schema=schema))
        self._connection.execute(f"INSERT INTO {table} SELECT * FROM batch")
        self._connection.unregister("batch")
        rows.clear()

    def _schema(self, table: str) -> pa.Schema:
        """Arrow types for a table's columns; enums and JSON go in as text, which DuckDB checks."""
        import pyarrow as pa

        plain = {
            "BIGINT": pa.int64(),
            "INTEGER": pa.int32(),
            "DOUBLE": pa.float64(),
            "BOOLEAN": pa.bool_(),
            "VARCHAR[]": pa.list_(pa.string()),
        }
        part = pa.struct({"role": pa.string(), "start_us": pa.int64(), "stop_us": pa.int64()})
        kinds = self._connection.execute(f"DESCRIBE {table}").fetchall()
        return pa.schema(
            (name, pa.list_(part) if kind.startswith("STRUCT") else plain.get(kind, pa.string()))
            for name, kind, *_ in kinds
        )
