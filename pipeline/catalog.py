"""OUT/catalog.duckdb: everything a build knows, for SQL. Rebuilt whole; nothing is kept only here."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib.resources import files
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from corpus.schemas.codec import to_plain
from corpus.schemas.conversation import Conversation
from corpus.schemas.drops import Drop
from corpus.schemas.errors import DatasetError, NewerSchemaError, StorageError, UsageError
from corpus.schemas.recording import Recording

if TYPE_CHECKING:
    import duckdb

CATALOG = "catalog.duckdb"
CATALOG_VERSION = 1
_BATCH = 200
"""Recordings whose rows stand in memory at a time."""

Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogEntry:
    """A recording that is in the dataset."""

    recording: Recording
    conversation: Conversation
    split: str
    sidecars: tuple[str, ...] = ()
    """Names of the annotation files that were used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """The build that writes the catalog."""

    version: str
    config: str
    settings: str
    """JSON text of the settings."""
    started_at_us: int | None = None
    """Microseconds since 1970-01-01 UTC."""
    stopped_at_us: int | None = None
    num_workers: int | None = None


def write_catalog(
    out: Path, recordings: Iterable[CatalogEntry], drops: Iterable[Drop], run: RunFacts
) -> None:
    """Write OUT/catalog.duckdb in a temporary file and rename it over the one that is there.

    Readers see the old catalog or the new one. Takes `clips` from OUT/clips.parquet; keeps the runs of the
    catalog before, where it can be read.

    Raises:
        StorageError: no room, or OUT cannot be written.
    """
    import duckdb

    partial = out / f".{CATALOG}.partial"
    runs = [*_earlier_runs(out), to_plain(run)]
    try:
        partial.unlink(missing_ok=True)
        with duckdb.connect(str(partial), config={"threads": 1}) as db:
            db.execute(files("corpus.pipeline").joinpath("catalog.sql").read_text(encoding="utf-8"))
            _insert_all(db, recordings, drops, runs)
            _insert_clips(db, out / "clips.parquet")
        _settle(partial, out / CATALOG)
    except (OSError, duckdb.IOException) as error:
        raise StorageError(f"the catalog cannot be written: {error}", where=str(out)) from error
    finally:
        partial.unlink(missing_ok=True)
        Path(f"{partial}.wal").unlink(missing_ok=True)


def _settle(partial: Path, path: Path) -> None:
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.replace(path)


def _insert_all(
    db: duckdb.DuckDBPyConnection, recordings: Iterable[CatalogEntry], drops: Iterable[Drop], runs: list[Row]
) -> None:
    entries = iter(recordings)
    while batch := list(islice(entries, _BATCH)):
        for table, rows_of in _TABLES.items():
            _insert(db, table, [row for entry in batch for row in rows_of(entry)])
    _insert(db, "drops", [{"drop_id": i, **to_plain(drop)} for i, drop in enumerate(drops)])
    _insert(db, "runs", [{**run, "run_id": i} for i, run in enumerate(runs)])


def _insert(db: duckdb.DuckDBPyConnection, table: str, rows: list[Row]) -> None:
    if not rows:
        return
    import pyarrow as pa

    columns = {name: [row[name] for row in rows] for name in rows[0]}
    db.register("incoming", pa.table(columns))
    db.execute(f"INSERT INTO {table} BY NAME SELECT * FROM incoming")
    db.unregister("incoming")


def _insert_clips(db: duckdb.DuckDBPyConnection, index: Path) -> None:
    from corpus.shards.columns import arrow_schema

    if index.is_file():
        import pyarrow.parquet as pq

        table = pq.read_table(index)
    else:
        table = arrow_schema().empty_table()
    db.register("incoming", table)
    db.execute(
        "CREATE TABLE clips AS SELECT key AS clip_id, recording AS recording_id, "
        "* EXCLUDE (key, recording) FROM incoming"
    )
    db.unregister("incoming")
    db.execute("COMMENT ON TABLE clips IS 'clips.parquet: one row for each clip of the shards'")


def _recording_rows(entry: CatalogEntry) -> Iterator[Row]:
    recording = entry.recording
    yield {
        "recording_id": recording.hash,
        "uri": recording.uri,
        "split": entry.split or None,
        "duration_us": recording.duration_us,
        "bytes": sum(file.bytes for file in recording.files),
        "licence": recording.licence,
        "consent": recording.consent,
        "conversation": recording.conversation,
        "speakers": list(entry.conversation.speakers),
        "named_speakers": list(recording.speakers),
        "sidecars": list(entry.sidecars),
    }


def _stream_rows(entry: CatalogEntry) -> Iterator[Row]:
    for place, stream in enumerate(entry.recording.streams):
        plain = to_plain(stream)
        del plain["oddities"]
        file = plain.pop("file")
        yield {
            "recording_id": entry.recording.hash,
            "stream_id": place,
            "file_uri": entry.recording.files[file].uri,
            "file_index": plain.pop("index"),
            **plain,
        }


def _oddity_rows(entry: CatalogEntry) -> Iterator[Row]:
    head = {"recording_id": entry.recording.hash}
    for oddity in entry.recording.oddities:
        yield {**head, "stream_id": None, **to_plain(oddity)}
    for place, stream in enumerate(entry.recording.streams):
        for oddity in stream.oddities:
            yield {**head, "stream_id": place, **to_plain(oddity)}


def _items(name: str, id_name: str) -> Callable[[CatalogEntry], Iterator[Row]]:
    """Rows of the conversation's turns, cues or events under the recording's id."""

    def rows(entry: CatalogEntry) -> Iterator[Row]:
        for item in getattr(entry.conversation, name):
            plain = to_plain(item)
            yield {"recording_id": entry.recording.hash, id_name: plain.pop("id"), **plain}

    return rows


def _word_rows(entry: CatalogEntry) -> Iterator[Row]:
    for position, row in enumerate(_items("words", "word_id")(entry)):
        yield {**row, "position": position}


_TABLES: dict[str, Callable[[CatalogEntry], Iterator[Row]]] = {
    "recordings": _recording_rows,
    "streams": _stream_rows,
    "oddities": _oddity_rows,
    "turns": _items("turns", "turn_id"),
    "words": _word_rows,
    "cues": _items("cues", "cue_id"),
    "events": _items("events", "event_id"),
}


def _earlier_runs(out: Path) -> list[Row]:
    """The runs of the catalog that is there; none where it is absent, broken or of another version."""
    if not (out / CATALOG).is_file():
        return []
    try:
        columns, rows = query(out, "SELECT * EXCLUDE (run_id) FROM runs ORDER BY run_id")
        return [dict(zip(columns, row, strict=True)) for row in rows]
    except (DatasetError, NewerSchemaError, UsageError):
        return []


def query(out: Path, sql: str) -> tuple[tuple[str, ...], Iterator[tuple[Any, ...]]]:
    """The columns and rows of one SQL statement on OUT/catalog.duckdb, which cannot change anything.

    The database is open for reading only and may not touch other files or the network.

    Raises:
        UsageError: the SQL is wrong or asks for what is not allowed; also while rows are read.
        DatasetError: there is no catalog, or it cannot be read.
        NewerSchemaError: written by a newer version.
    """
    import duckdb

    db = _open(out)
    try:
        statements = db.extract_statements(sql)
        if len(statements) != 1:
            raise UsageError(f"expected one SQL statement, got {len(statements)}", where=f"{out}/{CATALOG}")
        cursor = db.execute(statements[0])
        columns = tuple(str(column[0]) for column in cursor.description or ())
    except duckdb.Error as error:
        raise _bad_sql(error) from error
    return columns, _rows(db)


def _rows(db: duckdb.DuckDBPyConnection) -> Iterator[tuple[Any, ...]]:
    import duckdb

    with db:
        try:
            while rows := db.fetchmany(1000):
                yield from rows
        except duckdb.Error as error:
            raise _bad_sql(error) from error


def _bad_sql(error: Exception) -> UsageError:
    todo = 'the tables: corpus catalog OUT "SHOW ALL TABLES"'
    return UsageError(f"the query fails: {str(error).strip()}", todo=todo)


def _open(out: Path) -> duckdb.DuckDBPyConnection:
    import duckdb

    path = out / CATALOG
    if not path.is_file():
        raise DatasetError("holds no catalog", where=str(out), todo="run corpus build; it writes one")
    config: dict[str, Any] = {"enable_external_access": False, "lock_configuration": True}
    try:
        db = duckdb.connect(str(path), read_only=True, config=config)
        version = db.execute("SELECT version FROM schema_version").fetchone()
    except duckdb.Error as error:
        todo = "run corpus build again; the catalog is rebuilt from the cache"
        raise DatasetError(f"the catalog cannot be read: {error}", where=str(path), todo=todo) from error
    if version and version[0] > CATALOG_VERSION:
        db.close()
        todo = "install a newer duplex-corpus"
        raise NewerSchemaError(f"catalog version {version[0]}, this reads {CATALOG_VERSION}", todo=todo)
    return db
