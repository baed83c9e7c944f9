"""catalog.duckdb: everything a build knows of its recordings, to be asked with SQL. Tables: catalog.sql."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from corpus.report.catalog_piece import CATALOG_VERSION
from corpus.report.catalog_rows import CatalogEntry, Row, entry_rows
from corpus.report.catalog_writer import Writer
from corpus.report.transitions import TransitionKind
from corpus.schemas.conversation import CUE_KINDS, AnswerAction, WordTiming
from corpus.schemas.dataset import SPLITS
from corpus.schemas.drops import Drop, DropKind
from corpus.schemas.errors import DatasetError, StorageError, UsageError
from corpus.schemas.files import inside, put_in_place, sha256_file, storage_errors, sync_file, temporary
from corpus.schemas.settings import Settings
from corpus.schemas.store_version import stored_version

if TYPE_CHECKING:
    import duckdb

CATALOG_FILE = "catalog.duckdb"
_CATALOG_FORM = "corpus.catalog"

_FETCH_ROWS = 1_000
_MEMORY = "512MB"

_ENUMS: dict[str, tuple[str, ...]] = {
    "split_name": SPLITS,
    "stream_kind": ("audio", "video"),
    "word_timing": get_args(WordTiming),
    "cue_label": tuple(CUE_KINDS),
    "answer_action": get_args(AnswerAction),
    "drop_kind": get_args(DropKind),
    "transition_kind": get_args(TransitionKind),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """The build behind a dataset. Nothing of the clock on the wall."""

    config: str
    """Digest of the settings and of all stages' versions."""
    settings: Settings
    settings_json: str
    versions_json: str
    recordings: int
    clips: int
    windows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a query found: the columns' names, and the rows as they are fetched."""

    columns: tuple[str, ...]
    rows: Iterator[Row]


# -- writing ----------------------------------------------------------------------------------


def write_catalog(
    out: Path,
    recordings: Iterable[CatalogEntry | Path],
    drops: Iterable[Drop],
    run: RunFacts,
    *,
    instead_of: Sequence[str] | None = None,
    announce: Callable[[str], None] | None = None,
) -> None:
    """Make the catalog from the recordings and OUT/clips.parquet; readers see the old one or the new.

    A path is the folder of a recording's piece (catalog_piece.py).

    With `instead_of` the catalog that stands there is changed: these recordings go, the others stay, and the
    rows are those that a catalog made anew would have. Conversations are taken one at a time; what is held
    is one of them and one batch of rows. `announce` gets the file's sha256 before it is put in place.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """

    path = out / CATALOG_FILE
    old = path if instead_of is not None else None
    unfinished = temporary(path)
    try:
        with storage_errors(path):
            unfinished.unlink(missing_ok=True)
            if old is not None:
                shutil.copyfile(old, unfinished)
            with opened_for_writing(unfinished) as connection:
                if old is None:
                    create_tables(connection)
                else:
                    _take_out(connection, instead_of or ())
                _fill(connection, recordings, drops, run, out)
            read_back(unfinished)
            sync_file(unfinished)
            if announce is not None:
                announce(sha256_file(unfinished))
            put_in_place(path)
    finally:
        unfinished.unlink(missing_ok=True)


@contextmanager
def opened_for_writing(path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection to a catalog that nobody else sees yet; what was written is in the file at the end.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    import duckdb

    spill = temporary(path.with_name("catalog-spill"))
    try:
        with closing(duckdb.connect(str(path), config=_config(spill))) as connection:
            yield connection
            connection.execute("CHECKPOINT")  # at closing time a full disk would go unnoticed
    except (
        duckdb.OperationalError,
        duckdb.InternalError,
        duckdb.FatalException,
        duckdb.IOException,
    ) as error:
        todo = "make room on the disk and run the same command again"
        raise StorageError(f"the catalog cannot be written: {error}", where=str(path), todo=todo) from error
    finally:
        path.with_name(path.name + ".wal").unlink(missing_ok=True)
        shutil.rmtree(spill, ignore_errors=True)


def create_tables(connection: duckdb.DuckDBPyConnection) -> None:
    """The tables of an empty catalog."""
    for name, values in _ENUMS.items():
        connection.execute(f"CREATE TYPE {name} AS ENUM ({', '.join(map(_quoted, values))})")
    connection.execute(Path(__file__).with_name("catalog.sql").read_text(encoding="utf-8"))
    connection.execute("INSERT INTO schema_version VALUES (?, ?)", [_CATALOG_FORM, CATALOG_VERSION])


def _take_out(connection: duckdb.DuckDBPyConnection, gone: Sequence[str]) -> None:
    """Remove what is written anew: the rows of some recordings, and of the dataset as a whole."""
    tables = connection.execute(
        "SELECT t.table_name FROM duckdb_tables() t JOIN duckdb_columns() c USING (table_oid) "
        "WHERE c.column_name = 'recording_id' AND t.table_name <> 'clips'"
    ).fetchall()
    if gone:
        listed = ", ".join(map(_quoted, gone))
        for (table,) in tables:
            connection.execute(f"DELETE FROM {table} WHERE recording_id IN ({listed})")
    connection.execute("DELETE FROM runs")
    connection.execute("DELETE FROM drops")
    connection.execute("DROP TABLE clips")


def read_back(path: Path) -> None:
    """A catalog goes into place only when it can be opened, and nothing of it is left in a log.

    Raises:
        StorageError: it cannot be opened.
    """
    import duckdb

    try:
        with closing(duckdb.connect(str(path), read_only=True)) as connection:
            connection.execute("SELECT count(*) FROM clips").fetchall()
    except (duckdb.OperationalError, duckdb.InternalError, duckdb.FatalException) as error:
        todo = "make room on the disk and run the same command again"
        raise StorageError(f"the catalog cannot be written: {error}", where=str(path), todo=todo) from error


def _config(spill: Path) -> dict[str, str | bool | int | float | list[str]]:
    return {"memory_limit": _MEMORY, "temp_directory": str(spill), "threads": 1}


def _fill(
    connection: duckdb.DuckDBPyConnection,
    recordings: Iterable[CatalogEntry | Path],
    drops: Iterable[Drop],
    run: RunFacts,
    folder: Path,
) -> None:
    writer = Writer(connection)
    facts = (run.config, run.settings_json, run.versions_json, run.recordings, run.clips, run.windows)
    writer.add("runs", [facts])
    for entry in recordings:
        if isinstance(entry, Path):
            writer.add_piece(entry)
            continue
        for table, rows in entry_rows(entry, bridge_us=run.settings.cues.ipu_bridge_us):
            writer.add(table, rows)
    writer.add(
        "drops",
        ((d.item, d.stage, d.kind, d.code, d.reason, d.start_us, d.stop_us, d.count) for d in drops),
    )
    writer.flush()
    fill_clips(connection, folder)


def fill_clips(connection: duckdb.DuckDBPyConnection, folder: Path) -> None:
    """The table of clips, from the folder's clips.parquet."""
    connection.execute(
        "CREATE TABLE clips AS SELECT key AS clip_id, recording AS recording_id, "
        f"* EXCLUDE (key, recording) FROM read_parquet({_quoted(str(folder / 'clips.parquet'))})"
    )
    connection.execute("COMMENT ON TABLE clips IS 'One row per clip: the columns of clips.parquet.'")


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


# -- asking -----------------------------------------------------------------------------------


@contextmanager
def open_catalog(out: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """The catalog, read-only, with no way out to other files or the network.

    Raises:
        DatasetError: there is none, or it cannot be read.
        NewerSchemaError: written by a newer version.
    """
    import duckdb

    path = inside(out, CATALOG_FILE)
    if not path.is_file():
        raise DatasetError(
            "no catalog here", where=str(out), todo="run corpus build; it writes catalog.duckdb"
        )
    with readable(path):
        connection = duckdb.connect(str(path), read_only=True, config={"enable_external_access": False})
    with closing(connection):
        connection.execute("SET lock_configuration = true")
        if stored_version(connection, path, form=_CATALOG_FORM, newest=CATALOG_VERSION) is None:
            todo = "run corpus build again"
            raise DatasetError("is not the catalog of a dataset", where=str(path), todo=todo)
        with readable(path):
            yield connection


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """A damaged catalog, or one whose tables are not as this version writes them, is named with its file.

    Raises:
        DatasetError: what DuckDB says of it.
    """
    import duckdb

    try:
        yield
    except duckdb.Error as error:
        todo = "run corpus build again; it rewrites catalog.duckdb"
        raise DatasetError(
            f"the catalog cannot be read: {_line(error)}", where=str(path), todo=todo
        ) from error


@contextmanager
def query_catalog(out: Path, sql: str) -> Iterator[Answer]:
    """What one SQL statement finds in the catalog; rows are fetched as they are asked for.

    Raises:
        UsageError: the statement is wrong, more than one, or would change something.
        DatasetError: no catalog there.
    """
    import duckdb

    with open_catalog(out) as connection:
        try:
            statements = connection.extract_statements(sql)
            if len(statements) != 1:
                raise UsageError(f"expected one SQL statement, got {len(statements)}", where="corpus catalog")
            connection.execute(statements[0])
        except duckdb.Error as error:
            raise _refused(error) from error
        columns = tuple(column[0] for column in connection.description or ())
        yield Answer(columns=columns, rows=_fetch(connection))


def _fetch(connection: duckdb.DuckDBPyConnection) -> Iterator[Row]:
    import duckdb

    try:
        while rows := connection.fetchmany(_FETCH_ROWS):
            yield from rows
    except duckdb.Error as error:
        raise _refused(error) from error


def _refused(error: Exception) -> UsageError:
    todo = 'tables and views: corpus catalog OUT "SHOW TABLES"'
    return UsageError(f"the query failed: {_line(error)}", where="corpus catalog", todo=todo)


def _line(error: Exception) -> str:
    """DuckDB's message without the drawing of the statement below it."""
    return " ".join(str(error).split("\n\nLINE")[0].split())
