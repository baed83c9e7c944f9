"""Known hashes of the inputs' files, so that unchanged ones need not be read again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from corpus.schemas.codec import from_json
from corpus.schemas.errors import FormatError
from corpus.schemas.files import storage_errors
from corpus.schemas.row_file import packed, read_row_file, unpacked, write_row_file

if TYPE_CHECKING:
    import pyarrow as pa

_MARKS_FILE = "marks.arrow"
_OLDER_FILE = "marks.json"
"""The file of builds before 2026-11-29."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileMark:
    """A file's path, size and times when it was hashed: an equal mark is assumed to mean equal bytes."""

    place: str
    bytes: int
    mtime_ns: int
    sha256: str
    ctime_ns: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Marks:
    files: tuple[FileMark, ...]


class Marks:
    """A row for each bundle of inputs, by its look."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / _MARKS_FILE
        self._older = folder / _OLDER_FILE
        self._table = read_row_file(self._path, _schema())

    def but(self, standing: Set[str]) -> dict[str, FileMark]:
        """All known marks by path, except those of bundles with these looks."""
        looks, contents = self._table["look"].to_pylist(), self._table["marks"]
        known: dict[str, FileMark] = {}
        for number, look in enumerate(looks):
            if look not in standing:
                marks = unpacked(_Marks, contents[number].as_py(), self._path)
                known |= {mark.place: mark for mark in marks.files}
        return known if looks else self._read_older()

    def save(self, standing: Set[str], found: Mapping[str, Iterable[FileMark]]) -> None:
        """Keep the rows of standing bundles, and add the new marks."""
        import pyarrow as pa

        kept = pa.array([look in standing for look in self._table["look"].to_pylist()], pa.bool_())
        rows = [packed(_Marks(files=tuple(marks))) for marks in found.values()]
        new = pa.Table.from_arrays(
            [pa.array(found, pa.string()), pa.array(rows, pa.binary())], schema=_schema()
        )
        write_row_file(self._path, pa.concat_tables([self._table.filter(kept), new]).combine_chunks())
        with storage_errors(self._older):
            self._older.unlink(missing_ok=True)

    def _read_older(self) -> dict[str, FileMark]:
        try:
            older = from_json(_Marks, self._older.read_bytes(), where=str(self._older))
        except (OSError, FormatError):
            return {}
        return {mark.place: mark for mark in older.files}


def _schema() -> pa.Schema:
    import pyarrow as pa

    return pa.schema([("look", pa.string()), ("marks", pa.binary())])
