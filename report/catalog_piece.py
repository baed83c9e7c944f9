"""One recording's rows of the catalog as Arrow tables in a file: made by its job, taken in by the build.

A file holds one Arrow stream for each table of the catalog, one after another, in the order of their names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from corpus.report.catalog_rows import CatalogEntry, Row, entry_rows
from corpus.schemas.codec import digest
from corpus.schemas.errors import FormatError

if TYPE_CHECKING:
    import pyarrow as pa

CATALOG_VERSION = 2
"""Raise it when tables or their contents change: cached pieces are then made again."""
PIECE_FILE = "catalog.arrow"
_TABLE = r"CREATE TABLE (\w+) \(\n([^;]*)\);"
_COLUMN = r"^ {4}([a-z_]+) ([^\s,]+)"
_OF_THE_WHOLE = frozenset(("drops", "runs"))
"""Tables whose rows belong to no recording."""


def write_piece(folder: Path, entry: CatalogEntry, *, bridge_us: int) -> None:
    """Write the recording's rows into the folder."""
    import pyarrow as pa

    rows: dict[str, list[Row]] = {name: [] for name in piece_tables()}
    for table, new_rows in entry_rows(entry, bridge_us=bridge_us):
        rows[table] += new_rows
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.OSFile(str(folder / PIECE_FILE), "wb") as file:
        for name, schema in piece_tables().items():
            with pa.ipc.new_stream(file, schema, options=options) as stream:
                if rows[name]:
                    stream.write_table(as_table(rows[name], schema))


def read_piece(folder: Path) -> Iterator[tuple[str, pa.Table]]:
    """The recording's rows, by table.

    Raises:
        FormatError: the file is cut off or damaged.
    """
    import pyarrow as pa

    path = folder / PIECE_FILE
    try:
        with pa.OSFile(str(path)) as file:
            for name, schema in piece_tables().items():
                with pa.ipc.open_stream(file) as stream:
                    table = stream.read_all()
                if not table.schema.equals(schema):
                    raise FormatError(f"holds other columns of {name}", where=str(path))
                yield name, table
    except (pa.ArrowInvalid, OSError) as error:
        raise FormatError(f"cannot be read: {error}", where=str(path), todo="build again") from error


def as_table(rows: list[Row], schema: pa.Schema) -> pa.Table:
    import pyarrow as pa

    columns = zip(zip(*rows, strict=True), schema, strict=True)
    return pa.Table.from_arrays([pa.array(values, field.type) for values, field in columns], schema=schema)


@cache
def piece_form() -> str:
    """Digest of what a piece looks like: of one with another form nothing can be read."""
    tables = Path(__file__).with_name("catalog.sql").read_text(encoding="utf-8")
    return digest([CATALOG_VERSION, tables])


@cache
def piece_tables() -> Mapping[str, pa.Schema]:
    """The catalog's tables that hold rows of recordings, by name."""
    return {name: schema for name, schema in catalog_tables().items() if name not in _OF_THE_WHOLE}


@cache
def catalog_tables() -> Mapping[str, pa.Schema]:
    """Arrow types of the columns of all tables but `schema_version` and `clips`.

    Enums and JSON go in as text, which DuckDB checks. Read from catalog.sql itself: loading DuckDB and making
    the tables takes a worker a third of a second.
    """
    import pyarrow as pa

    part = pa.struct({"role": pa.string(), "start_us": pa.int64(), "stop_us": pa.int64()})
    plain = {
        "BIGINT": pa.int64(),
        "INTEGER": pa.int32(),
        "DOUBLE": pa.float64(),
        "BOOLEAN": pa.bool_(),
        "VARCHAR[]": pa.list_(pa.string()),
        "STRUCT(role": pa.list_(part),
    }
    sql = Path(__file__).with_name("catalog.sql").read_text(encoding="utf-8")
    tables = {name: re.findall(_COLUMN, body, re.M) for name, body in sorted(re.findall(_TABLE, sql))}
    return {
        name: pa.schema((column, plain.get(kind, pa.string())) for column, kind in columns)
        for name, columns in tables.items()
    }
