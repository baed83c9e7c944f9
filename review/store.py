"""labels.duckdb and reviews.parquet: an acknowledged decision is on disk, whatever happens next.

Only one process at a time can open the store; DuckDB's own lock ensures this. `corpus build` reads the
Parquet file: it is written whole under another name and renamed, with the last sequence number in its
metadata.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from corpus.review.labels import (
    CATALOG_FILE,
    LABELS_FILE,
    attach_catalog,
    one_line,
    open_labels,
    quoted,
)
from corpus.schemas.codec import to_json
from corpus.schemas.errors import CorpusError, DatasetError, LockedError, StorageError
from corpus.schemas.files import inside, put_in_place, storage_errors, sync_file, temporary
from corpus.schemas.review import Review
from corpus.schemas.reviews_file import REVIEWS_FILE, SEQUENCE_KEY, kept_review, last_sequence
from corpus.schemas.votes import content_of, span_of, speaker_of

if TYPE_CHECKING:
    import duckdb


_Row = tuple[Any, ...]
_FEW_ROWS = 100
_LONGEST_QUERY_S = 30.0


class Store:
    """The reviews of one dataset, open for writing. Thread-safe."""

    def __init__(self, out: Path) -> None:
        """Open the store of a dataset, or make an empty one.

        Raises:
            LockedError: another process has it open.
            NewerSchemaError: written by a newer version.
            DatasetError: it cannot be read.
        """
        self.out = out
        self.path = inside(out, LABELS_FILE)
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._connection = open_labels(self.path)
        (self.id,) = self._connection.execute("SELECT id FROM store").fetchall()[0]
        self.sequence = _last_sequence(self._connection)
        self.exported = last_sequence(out)

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def add(self, reviews: Sequence[Review]) -> list[Review]:
        """Store the decisions durably, all or none; returns them with numbers. One sent before is unchanged.

        Raises:
            StorageError: the disk is full or gone; nothing is stored.
        """
        import duckdb

        with self._lock:
            try:
                return self._add(reviews)
            except duckdb.Error as error:
                if not isinstance(error, duckdb.IOException):
                    self._open_again()
                what, todo = f"the decision could not be kept: {one_line(error)}", "make room on the disk"
                raise StorageError(what, where=str(self.path), todo=todo) from error

    def _add(self, reviews: Sequence[Review]) -> list[Review]:
        known = self._known([review.id for review in reviews])
        fresh = {r.id: r for r in reviews if r.id not in known}
        numbered = [replace(r, sequence=self.sequence + n) for n, r in enumerate(fresh.values(), start=1)]
        if numbered:
            self._insert(numbered)
        self.sequence += len(numbered)
        kept = known | {review.id: review for review in numbered}
        return [kept[review.id] for review in reviews]

    def _open_again(self) -> None:
        """Reopen a database that could not write its file: it refuses all queries from then on."""
        self._connection.close()
        with suppress(CorpusError):  # still no room: the next decision tries again
            self._connection = open_labels(self.path)
            self.sequence = _last_sequence(self._connection)

    def _known(self, ids: Sequence[str]) -> dict[str, Review]:
        rows = self._connection.execute(
            "SELECT review FROM reviews WHERE id IN (SELECT unnest(?))", [list(ids)]
        )
        return {review.id: review for review in (kept_review(row[0]) for row in rows.fetchall())}

    def _insert(self, reviews: Sequence[Review]) -> None:
        import duckdb

        rows = [_row(review) for review in reviews]
        self._connection.execute("BEGIN")
        try:
            if len(rows) <= _FEW_ROWS:
                marks = ", ".join("?" for _ in rows[0])
                self._connection.executemany(f"INSERT INTO reviews VALUES ({marks})", rows)
            else:
                self._insert_many(rows)
            self._connection.execute("COMMIT")
        except BaseException:
            with suppress(duckdb.TransactionException):  # a COMMIT that failed has rolled back by itself
                self._connection.execute("ROLLBACK")
            raise

    def _insert_many(self, rows: Sequence[_Row]) -> None:
        """As one Arrow table: an import of a hundred thousand takes seconds, not minutes."""
        import pyarrow as pa

        kinds = self._connection.execute("DESCRIBE reviews").fetchall()
        schema = pa.schema(
            (name, pa.int64() if kind == "BIGINT" else pa.string()) for name, kind, *_ in kinds
        )
        columns = [pa.array(v, f.type) for v, f in zip(zip(*rows, strict=True), schema, strict=True)]
        self._connection.register("batch", pa.Table.from_arrays(columns, schema=schema))
        self._connection.execute("INSERT INTO reviews SELECT * FROM batch")
        self._connection.unregister("batch")

    def look_at_dataset(self) -> None:
        """Show the cues of a rebuilt dataset in the views."""
        with self._lock:
            attach_catalog(self._connection, self.out / CATALOG_FILE)

    def reviews(self, after: int = 0) -> list[Review]:
        """All rows in order, or those after a number."""
        sql = "SELECT review FROM reviews WHERE sequence > ? ORDER BY sequence"
        with self._lock:
            rows = self._connection.execute(sql, [after]).fetchall()
        return [kept_review(row[0]) for row in rows]

    def query(self, sql: str, most: int = 10_000) -> tuple[list[str], list[_Row]]:
        """The result of one read-only statement, on its own cursor.

        Raises:
            DatasetError: the statement is wrong, more than one, or would change something.
        """
        import duckdb

        with self._lock:
            cursor = self._connection.cursor()
        try:
            statements = cursor.extract_statements(sql)
            if len(statements) != 1 or statements[0].type not in (
                duckdb.StatementType.SELECT,
                duckdb.StatementType.EXPLAIN,
            ):
                raise DatasetError("give one SELECT statement", where="corpus review sql")
            stop = threading.Timer(_LONGEST_QUERY_S, cursor.interrupt)
            stop.start()
            try:
                cursor.execute(statements[0])
            finally:
                stop.cancel()
            columns = [str(column[0]) for column in cursor.description or ()]
            return columns, cursor.fetchmany(most)
        except duckdb.Error as error:
            raise DatasetError(f"the query failed: {one_line(error)}", where="corpus review sql") from error
        finally:
            cursor.close()

    def export(self) -> int:
        """Bring reviews.parquet up to date; returns the last sequence number in it."""
        with self._writing:
            with self._lock:
                cursor, sequence = self._connection.cursor(), self.sequence
            try:
                if sequence != self.exported or not (self.out / REVIEWS_FILE).exists():
                    _write_parquet(cursor, self.out / REVIEWS_FILE, sequence)
                    self.exported = sequence
            finally:
                cursor.close()
            return sequence


def _last_sequence(connection: duckdb.DuckDBPyConnection) -> int:
    return int(connection.execute("SELECT coalesce(max(sequence), 0) FROM reviews").fetchall()[0][0])


@contextmanager
def opened(out: Path) -> Iterator[Store]:
    """Open the store for a `with` block; the Parquet file is up to date after it."""
    store = Store(out)
    try:
        yield store
        store.export()
    finally:
        store.close()


def bring_up_to_date(out: Path) -> None:
    """Make sure that reviews.parquet holds every decision before a build reads it.

    A running server does so itself, at most a second behind. Does nothing if nobody has reviewed.

    Raises:
        NewerSchemaError, DatasetError: labels.duckdb cannot be read, so it is unknown what is missing.
    """
    if not (out / LABELS_FILE).exists():
        return
    try:
        with opened(out):
            pass
    except LockedError:
        return


def _write_parquet(cursor: duckdb.DuckDBPyConnection, path: Path, sequence: int) -> None:
    import duckdb

    unfinished = temporary(path)
    with storage_errors(path):
        unfinished.unlink(missing_ok=True)  # what a killed process left
        try:
            cursor.execute(
                f"COPY (SELECT * FROM reviews WHERE sequence <= {sequence:d} ORDER BY sequence) "
                f"TO {quoted(str(unfinished))} "
                "(FORMAT parquet, COMPRESSION zstd, USE_TMP_FILE false, "
                f"KV_METADATA {{'{SEQUENCE_KEY}': '{sequence:d}'}})"
            )
            sync_file(unfinished)
            put_in_place(path)
        except duckdb.Error as error:
            raise StorageError(f"cannot be written: {one_line(error)}", where=str(path)) from error
        finally:
            if unfinished.exists():
                os.unlink(unfinished)


def _row(review: Review) -> _Row:
    part = review.becomes[0] if review.becomes else review.judged
    content = content_of(part) if part is not None else None
    span = span_of(part) if part is not None else None
    cue = part.cue if part is not None else None
    return (
        *(review.sequence, review.id, review.recording, review.item, review.about, review.verdict),
        *(review.annotator, review.role, review.draw, cue.label if cue else None, cue.kind if cue else None),
        speaker_of(part) if part is not None else None,
        *((span.start_us, span.stop_us) if span is not None else (None, None)),
        getattr(content, "text", None),
        *(review.note, review.client_at_us, review.decided_at_us, review.spent_ms, review.undoes),
        to_json(review),
    )
