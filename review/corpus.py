"""The reviewable content of a dataset: its cues in columns, and the context of each."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from corpus.review.original import Film
from corpus.schemas.conversation import CUE_KINDS, Cue, Turn, Word
from corpus.schemas.cue_row import CUE_COLUMNS, cue_of_row
from corpus.schemas.errors import DatasetError
from corpus.schemas.files import inside

_CATALOG_FILE = "catalog.duckdb"
_MANIFEST_FILE = "manifest.json"
LABELS = tuple(CUE_KINDS)
_COLUMNS = {
    "cues": CUE_COLUMNS,
    "turns": "turn_id, speaker, start_us, stop_us",
    "words": "word_id, speaker, start_us, stop_us, text, after, timing::VARCHAR, confidence",
}
_Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Columns:
    """Columns with one entry per cue of the dataset, in the catalog's order."""

    recordings: tuple[str, ...]
    recording: npt.NDArray[np.int32]
    """Index in `recordings`."""
    cue: npt.NDArray[np.object_]
    """The cue's id within the recording."""
    label: npt.NDArray[np.int16]
    """Index in `LABELS`."""
    start_us: npt.NDArray[np.int64]
    stop_us: npt.NDArray[np.int64]
    confidence: npt.NDArray[np.float32]
    human: npt.NDArray[np.bool_]
    """True if it already comes from people's decisions."""

    def __len__(self) -> int:
        return len(self.cue)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """A recording in the catalog."""

    id: str
    uri: str
    duration_us: int
    speakers: tuple[str, ...]


class Catalog:
    """catalog.duckdb, read-only. A build replaces the file; `is_current` tells."""

    def __init__(self, out: Path) -> None:
        import duckdb

        self.path = inside(out, _CATALOG_FILE)
        if not self.path.is_file():
            raise DatasetError("contains no catalog", where=str(out), todo="run corpus build first")
        self._marks = self._look()
        config: dict[str, Any] = {"enable_external_access": False, "threads": 1}  # a question is short
        try:
            self._connection = duckdb.connect(str(self.path), read_only=True, config=config)
        except duckdb.Error as error:
            what = f"the catalog cannot be read: {' '.join(str(error).split())}"
            raise DatasetError(what, where=str(self.path), todo="run corpus build again") from error
        self._lock = threading.Lock()
        self._recorded = self._read_recordings()
        self._together: dict[str, bool] = {}
        self._stretches = {table: self._read_stretches(table) for table in ("cues", "turns", "words")}

    def close(self) -> None:
        self._connection.close()

    def is_current(self) -> bool:
        return self._look() == self._marks

    def _look(self) -> list[tuple[int, int, int]]:
        """A build writes the catalog before the manifest, which stands for the shards."""
        return [_mark(self.path), _mark(self.path.with_name(_MANIFEST_FILE))]

    def _rows(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        with self._lock:
            cursor = self._connection.cursor()
        with closing(cursor), _readable(self.path):
            return cursor.execute(sql, list(parameters)).fetchall()

    def _read_stretches(self, table: str) -> dict[str, tuple[int, int]]:
        """The first and the last row of every recording: DuckDB then reads these and no others.

        The question for them is prepared, which leaves a third of its time.
        """
        stretches = self._rows(
            f"SELECT recording_id, min(rowid), max(rowid), count(*) FROM {table} GROUP BY recording_id"
        )
        together = all(last - first + 1 == count for _, first, last, count in stretches)
        mine = "true" if together else "recording_id = $5"  # a build writes one recording after another
        with _readable(self.path):
            self._connection.execute(
                f"PREPARE near_{table} AS SELECT {_COLUMNS[table]} FROM {table} "
                f"WHERE rowid BETWEEN $1 AND $2 AND start_us <= $3 AND stop_us >= $4 AND {mine}"
            )
        self._together[table] = together
        return {name: (first, last) for name, first, last, _ in stretches}

    def _near(self, table: str, recording: str, start_us: int, stop_us: int) -> list[_Row]:
        """The rows of one recording that touch a stretch."""
        first, last = self._stretches[table].get(recording, (0, -1))
        if last < first:
            return []
        apart = "" if self._together[table] else f", '{recording.replace(chr(39), chr(39) * 2)}'"
        asked = f"EXECUTE near_{table}({first:d}, {last:d}, {stop_us:d}, {start_us:d}{apart})"
        with self._lock, _readable(self.path):
            return self._connection.execute(asked).fetchall()

    def _named(self, table: str, recording: str, name: str) -> _Row | None:
        first, last = self._stretches[table].get(recording, (0, -1))
        rows = self._rows(
            f"SELECT {_COLUMNS[table]} FROM {table} WHERE rowid BETWEEN {first:d} AND {last:d} "
            f"AND recording_id = ? AND {table.removesuffix('s')}_id = ?",
            *(recording, name),
        )
        return rows[0] if rows else None

    def columns(self) -> Columns:
        """All cues; a million take about 3 s and 200 MB."""
        with _readable(self.path):
            return self._columns()

    def _columns(self) -> Columns:
        recordings = tuple(
            str(row[0]) for row in self._rows("SELECT recording_id FROM recordings ORDER BY uri")
        )
        place = {name: n for n, name in enumerate(recordings)}
        with self._lock:
            cursor = self._connection.cursor()
        with closing(cursor):
            columns = cursor.execute(
                "SELECT recording_id, cue_id, label::VARCHAR AS label, confidence, start_us, stop_us, "
                "starts_with(origin, 'human:') AS human "
                "FROM cues ORDER BY recording_id, start_us, cue_id"
            ).fetchnumpy()
        names, codes = np.unique(np.asarray(columns["recording_id"], object).astype(str), return_inverse=True)
        unknown = next((name for name in names if name not in place), None)
        if unknown is not None:
            raise DatasetError(
                f"holds cues of a recording that it does not list, {str(unknown)[:80]!r}",
                where=str(self.path),
                todo="run corpus build again",
            )
        label_names, label_codes = np.unique(
            np.asarray(columns["label"], object).astype(str), return_inverse=True
        )
        return Columns(
            recordings=recordings,
            recording=np.asarray([place[n] for n in names], np.int32)[codes]
            if len(names)
            else np.zeros(0, np.int32),
            cue=np.asarray(columns["cue_id"], object),
            label=np.asarray([LABELS.index(n) for n in label_names], np.int16)[label_codes]
            if len(label_names)
            else np.zeros(0, np.int16),
            start_us=np.asarray(columns["start_us"], np.int64),
            stop_us=np.asarray(columns["stop_us"], np.int64),
            confidence=np.asarray(columns["confidence"], np.float32),
            human=np.asarray(columns["human"], bool),
        )

    def recordings(self) -> list[str]:
        """All recordings by content hash."""
        return sorted(self._recorded)

    def recorded(self, recording: str) -> Recorded | None:
        return self._recorded.get(recording)

    def _read_recordings(self) -> dict[str, Recorded]:
        voices: dict[str, list[str]] = defaultdict(list)
        for name, speaker in self._rows("SELECT recording_id, speaker FROM speakers ORDER BY channel"):
            voices[name].append(speaker)
        rows = self._rows("SELECT recording_id, uri, duration_us FROM recordings")
        return {
            name: Recorded(id=name, uri=uri, duration_us=length_us, speakers=tuple(voices[name]))
            for name, uri, length_us in rows
        }

    def films(self) -> dict[str, Film]:
        """The video stream of each recording that consists of one file."""
        rows = self._rows(
            "SELECT recording_id, stream_id, offset_us FROM streams JOIN recordings USING (recording_id) "
            "WHERE files = 1 AND kind::VARCHAR = 'video' AND chosen"
        )
        return {name: Film(stream=stream, offset_us=offset_us) for name, stream, offset_us in rows}

    def cue(self, recording: str, cue: str) -> Cue | None:
        row = self._named("cues", recording, cue)
        with _readable(self.path):
            return cue_of_row(row) if row else None

    def turn(self, recording: str, turn: str) -> Turn | None:
        row = self._named("turns", recording, turn)
        with _readable(self.path):
            return _turn(row) if row else None

    def word(self, recording: str, word: str) -> Word | None:
        row = self._named("words", recording, word)
        with _readable(self.path):
            return _word(row) if row else None

    def surest(self, label: str) -> tuple[str, str] | None:
        """Recording and id of a cue to show as an example: people's own cues first, then by confidence."""
        rows = self._rows(
            "SELECT recording_id, cue_id FROM cues WHERE label::VARCHAR = ? "
            "ORDER BY starts_with(origin, 'human:') DESC, confidence DESC, recording_id, start_us LIMIT 1",
            label,
        )
        return rows[0] if rows else None

    def cues(self, recording: str, start_us: int, stop_us: int) -> list[Cue]:
        """Cues that touch a stretch, even only at its ends (a cue may have no length), by time."""
        with _readable(self.path):
            overlapping = [cue_of_row(row) for row in self._near("cues", recording, start_us, stop_us)]
        return sorted(overlapping, key=lambda cue: (cue.start_us, cue.id))

    def turns(self, recording: str, start_us: int, stop_us: int) -> list[Turn]:
        with _readable(self.path):
            near = [_turn(row) for row in self._near("turns", recording, start_us, stop_us)]
        inside = (turn for turn in near if turn.start_us < stop_us and turn.stop_us > start_us)
        return sorted(inside, key=lambda turn: (turn.start_us, turn.id))

    def words(self, recording: str, start_us: int, stop_us: int) -> list[Word]:
        """Words that have a time."""
        with _readable(self.path):
            overlapping = [_word(row) for row in self._near("words", recording, start_us, stop_us)]
        return sorted(overlapping, key=lambda word: (word.start_us or 0, word.id))

    def words_without_times(self, recording: str) -> int:
        sql = "SELECT count(*) FROM words WHERE recording_id = ? AND start_us IS NULL"
        with self._lock:
            return int(self._connection.execute(sql, [recording]).fetchall()[0][0])


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Errors of a catalog that no build wrote, perhaps one from elsewhere, name its file."""
    import duckdb

    try:
        yield
    except (duckdb.Error, ValueError, TypeError) as error:
        what = f"the catalog cannot be read: {' '.join(str(error).split())[:300]}"
        raise DatasetError(what, where=str(path), todo="run corpus build again") from error


def _mark(path: Path) -> tuple[int, int, int]:
    try:
        state = path.stat()
    except OSError:
        return (0, 0, 0)
    return (state.st_ino, state.st_size, state.st_mtime_ns)


def _turn(row: Sequence[Any]) -> Turn:
    name, speaker, start_us, stop_us = row
    return Turn(id=name, speaker=speaker, start_us=start_us, stop_us=stop_us)


def _word(row: Sequence[Any]) -> Word:
    name, speaker, start_us, stop_us, text, after, timing, sure = row
    return Word(
        id=name, speaker=speaker, start_us=start_us, stop_us=stop_us, text=text, after=after, timing=timing,
        confidence=sure,
    )  # fmt: skip
