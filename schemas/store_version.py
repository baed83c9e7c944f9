"""The version of a DuckDB file of ours: its table `schema_version` holds the form's name and number."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from corpus.schemas.errors import NewerSchemaError

if TYPE_CHECKING:
    import duckdb


def stored_version(
    connection: duckdb.DuckDBPyConnection, path: Path, *, form: str, newest: int
) -> int | None:
    """The version of the open file at `path`; None if it is not of this form.

    Raises:
        NewerSchemaError: the version is above `newest`, which this release reads.
    """
    import duckdb

    try:
        row = connection.execute("SELECT name, version FROM schema_version").fetchone()
    except duckdb.Error:  # no such table: another program's file
        return None
    if row is None or row[0] != form or not isinstance(version := row[1], int):
        return None
    if version > newest:
        what = f"written as {form}/{version}, this version reads {form}/{newest}"
        raise NewerSchemaError(what, where=str(path), todo="install a newer duplex-corpus")
    return version
