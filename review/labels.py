"""Opening labels.duckdb: its lock, its version, and the catalog used by its views."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from corpus.schemas.errors import DatasetError, LockedError
from corpus.schemas.files import temporary
from corpus.schemas.reviews_file import REVIEWS_FILE
from corpus.schemas.store_version import stored_version

if TYPE_CHECKING:
    import duckdb

LABELS_FILE = "labels.duckdb"
CATALOG_FILE = "catalog.duckdb"
_LABELS_FORM = "corpus.labels"
_LABELS_VERSION = 2


def open_labels(path: Path) -> duckdb.DuckDBPyConnection:
    import duckdb

    config: dict[str, Any] = {
        "memory_limit": "1GB",
        "threads": 2,
        "temp_directory": str(path.parent / ".cache"),
    }
    try:
        connection = duckdb.connect(str(path), config=config)
    except duckdb.IOException as error:
        if "lock" in str(error).lower():
            todo = "close it first; `corpus review sql` queries a running server by itself"
            raise LockedError("another process has the labels open", where=str(path), todo=todo) from error
        raise DatasetError(f"the labels cannot be read: {one_line(error)}", where=str(path)) from error
    except duckdb.Error as error:
        raise DatasetError(f"the labels cannot be read: {one_line(error)}", where=str(path)) from error
    try:
        attach_catalog(connection, path.with_name(CATALOG_FILE))
        _bring_to_version(connection, path)
        unfinished = quoted(str(temporary(path.with_name(REVIEWS_FILE))))
        catalog = quoted(str(path.with_name(CATALOG_FILE)))
        connection.execute(f"SET allowed_paths = [{unfinished}, {catalog}]")  # SQL reaches no other file
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
    except duckdb.Error as error:
        connection.close()
        raise DatasetError(f"the labels cannot be read: {one_line(error)}", where=str(path)) from error
    except BaseException:
        connection.close()
        raise
    return connection


def attach_catalog(connection: duckdb.DuckDBPyConnection, catalog: Path) -> None:
    """Attach the catalog for views of its cues; an empty one if it is missing or unreadable."""
    import duckdb

    connection.execute("DETACH DATABASE IF EXISTS dataset")
    try:
        if catalog.exists():
            connection.execute(f"ATTACH {quoted(str(catalog))} AS dataset (READ_ONLY)")
            return
    except duckdb.Error:  # a damaged one: `corpus build` says so, and no decision depends on it
        pass
    connection.execute("ATTACH ':memory:' AS dataset")
    connection.execute(
        "CREATE TABLE dataset.cues (recording_id VARCHAR, cue_id VARCHAR, label VARCHAR, kind VARCHAR, "
        "speaker VARCHAR, start_us BIGINT, stop_us BIGINT, confidence DOUBLE, origin VARCHAR)"
    )


def _bring_to_version(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    """Create the tables of an empty store, or bring an older one up to date, all or nothing."""
    version: int | None = 0
    if connection.execute(
        "SELECT 1 FROM duckdb_tables() WHERE database_name <> 'dataset' LIMIT 1"
    ).fetchone():
        version = stored_version(connection, path, form=_LABELS_FORM, newest=_LABELS_VERSION)
    if version is None:
        raise DatasetError(
            "is not a store of reviews", where=str(path), todo="move it elsewhere and start again"
        )
    if version == _LABELS_VERSION:
        return
    steps = (
        [f"labels_{n}_to_{n + 1}.sql" for n in range(version, _LABELS_VERSION)] if version else ["labels.sql"]
    )
    connection.execute("BEGIN")
    try:
        for name in (*steps, "labels_views.sql"):
            connection.execute(Path(__file__).with_name(name).read_text(encoding="utf-8"))
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def one_line(error: Exception) -> str:
    return " ".join(str(error).split("\n\nLINE")[0].split())
