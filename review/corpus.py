"""What there is to review in a dataset: its cues in columns, and everything around one of them."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from corpus.schemas.conversation import CUE_KINDS, Cue, CueSpan, Turn, Word
from corpus.schemas.errors import DatasetError

if TYPE_CHECKING:
    pass

CATALOG_FILE = "catalog.duckdb"
LABELS = tuple(CUE_KINDS)
_CUE = (
    "cue_id, label::VARCHAR, kind, speaker, start_us, stop_us, confidence, origin, partner, "
    "thresholds::VARCHAR, evidence::VARCHAR, spans"
)


@dataclass(frozen=True, slots=True)
class Columns:
    """Every cue of the dataset, one entry each, in the catalog's order."""

    recordings: tuple[str, ...]
    recording: npt.NDArray[np.int32]
    """Place in `recordings`."""
    cue: npt.NDArray[np.object_]
    """Its id within the recording."""
    label: npt.NDArray[np.int16]
    """Place in `LABELS`."""
    start_us: npt.NDArray[np.int64]
    stop_us: npt.NDArray[np.int64]
    confidence: npt.NDArray[np.float32]
    human: npt.NDArray[np.bool_]
    """Made of people's decisions already."""

    def __len__(self) -> int:
        return len(self.cue)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """A recording as the catalog knows it."""

    id: str
    uri: str
    duration_us: int
    speakers: tuple[str, ...]


class Catalog:
    """catalog.duckdb, read-only. A build puts a new file in its place; `is_current` says so."""

    def __init__(self, out: Path) -> None:
        import duckdb

        self.path = out / CATALOG_FILE
        if not self.path.is_file():
            raise DatasetError("no catalog here", where=str(out), todo="run corpus build first")
        self._mark = _mark(self.path)
        config: dict[str, Any] = {"enable_external_access": False, "threads": 2}
        try:
            self._connection = duckdb.connect(str(self.path), read_only=True, config=config)
        except duckdb.Error as error:
            what = f"the catalog cannot be read: {' '.join(str(error).split())}"
            raise DatasetError(what, where=str(self.path), todo="run corpus build again") from error
        self._lock = threading.Lock()
        self._recorded = self._read_recordings()

    def close(self) -> None:
        self._connection.close()

    def is_current(self) -> bool:
        return _mark(self.path) == self._mark

    def _rows(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        with self._lock:
            cursor = self._connection.cursor()
        with closing(cursor):
            return cursor.execute(sql, list(parameters)).fetchall()

    def columns(self) -> Columns:
        """All cues; 1 M of them take about 3 s and 200 MB."""
        recordings = tuple(
            str(row[0]) for row in self._rows("SELECT recording_id FROM recordings ORDER BY uri")
        )
        place = {name: n for n, name in enumerate(recordings)}
        with self._lock:
            cursor = self._connection.cursor()
        with closing(cursor):
            found = cursor.execute(
                "SELECT recording_id, cue_id, label::VARCHAR AS label, confidence, start_us, stop_us, "
                "starts_with(origin, 'human:') AS human "
                "FROM cues ORDER BY recording_id, start_us, cue_id"
            ).fetchnumpy()
        names, codes = np.unique(np.asarray(found["recording_id"], object).astype(str), return_inverse=True)
        label_names, label_codes = np.unique(
            np.asarray(found["label"], object).astype(str), return_inverse=True
        )
        return Columns(
            recordings=recordings,
            recording=np.asarray([place.get(n, -1) for n in names], np.int32)[codes]
            if len(names)
            else np.zeros(0, np.int32),
            cue=np.asarray(found["cue_id"], object),
            label=np.asarray([LABELS.index(n) for n in label_names], np.int16)[label_codes]
            if len(label_names)
            else np.zeros(0, np.int16),
            start_us=np.asarray(found["start_us"], np.int64),
            stop_us=np.asarray(found["stop_us"], np.int64),
            confidence=np.asarray(found["confidence"], np.float32),
            human=np.asarray(found["human"], bool),
        )

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

    def cue(self, recording: str, cue: str) -> Cue | None:
        found = self._rows(f"SELECT {_CUE} FROM cues WHERE recording_id = ? AND cue_id = ?", recording, cue)
        return _cue(found[0]) if found else None

    def surest(self, label: str) -> tuple[str, str] | None:
        """Recording and id of a cue to show as an example: people's own first, then by confidence."""
        found = self._rows(
            "SELECT recording_id, cue_id FROM cues WHERE label::VARCHAR = ? "
            "ORDER BY starts_with(origin, 'human:') DESC, confidence DESC, recording_id, start_us LIMIT 1",
            label,
        )
        return found[0] if found else None

    def cues(self, recording: str, start_us: int, stop_us: int) -> list[Cue]:
        sql = (
            f"SELECT {_CUE} FROM cues "
            "WHERE recording_id = ? AND start_us < ? AND stop_us >= ? ORDER BY start_us, cue_id"
        )
        return [_cue(row) for row in self._rows(sql, recording, stop_us, start_us)]

    def turns(self, recording: str, start_us: int, stop_us: int) -> list[Turn]:
        sql = (
            "SELECT turn_id, speaker, start_us, stop_us FROM turns "
            "WHERE recording_id = ? AND start_us < ? AND stop_us > ? ORDER BY start_us, turn_id"
        )
        rows = self._rows(sql, recording, stop_us, start_us)
        return [Turn(id=i, speaker=s, start_us=a, stop_us=b) for i, s, a, b in rows]

    def words(self, recording: str, start_us: int, stop_us: int) -> list[Word]:
        sql = (
            "SELECT word_id, speaker, start_us, stop_us, text, after, timing::VARCHAR, confidence FROM words "
            "WHERE recording_id = ? AND start_us < ? AND stop_us > ? ORDER BY start_us, word_id"
        )
        return [
            Word(id=i, speaker=s, start_us=a, stop_us=b, text=t, after=after, timing=timing, confidence=sure)
            for i, s, a, b, t, after, timing, sure in self._rows(sql, recording, stop_us, start_us)
        ]


def _mark(path: Path) -> tuple[int, int, int]:
    try:
        found = path.stat()
    except OSError:
        return (0, 0, 0)
    return (found.st_ino, found.st_size, found.st_mtime_ns)


def _cue(row: Sequence[Any]) -> Cue:
    name, label, kind, speaker, start, stop, sure, origin, partner, thresholds, evidence, spans = row
    return Cue(
        id=name, label=label, kind=kind, speaker=speaker, start_us=start, stop_us=stop, confidence=sure,
        origin=origin, partner=partner, thresholds=thresholds, evidence=evidence,
        spans=tuple(CueSpan(**span) for span in spans),
    )  # fmt: skip
