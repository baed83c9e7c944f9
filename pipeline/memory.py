"""What the last build left, by bundle of inputs. A bundle that stands is neither parsed nor built.

A bundle stands if its look is unchanged, its dataset is whole, and no change elsewhere concerns it: no
changed recording has the same content as one of its own, or shares a person or a conversation with it, which
would bind their splits.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from corpus.pipeline.published import Published, PublishedRecording
from corpus.pipeline.split import Bond
from corpus.pipeline.state import Quarantine, Quarantined
from corpus.schemas.codec import from_json, to_json
from corpus.schemas.drops import Drop, Drops
from corpus.schemas.errors import FormatError
from corpus.schemas.row_file import packed, read_row_file, unpacked, write_row_file
from corpus.shards.segment_rows import segment_id

if TYPE_CHECKING:
    import pyarrow as pa

TABLE_FILE = "published.arrow"
FORM = "corpus.published/2"
_STAMP = b"stamp"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """What the rows describe: a dataset, and what it was made of besides the inputs."""

    form: str = FORM
    config: str = ""
    manifest_sha256: str = ""
    catalog_sha256: str = ""
    settings: str = ""
    """Including the filters, which `config` leaves out."""
    reviews: str = ""

    def is_of(self, other: Stamp) -> bool:
        """Whether both describe the same dataset."""
        mine = (self.form, self.config, self.manifest_sha256, self.catalog_sha256)
        return mine == (other.form, other.config, other.manifest_sha256, other.catalog_sha256)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One bundle after a build."""

    look: str
    whole: bool
    """False if an item must be examined again, whatever its files look like."""
    bonds: tuple[Bond, ...]
    """The bonds of all its items whose content is known."""
    published: tuple[PublishedRecording, ...]
    quarantined: tuple[Quarantined, ...]
    drops: tuple[Drop, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Recordings:
    recordings: tuple[PublishedRecording, ...]


class Memory:
    """The rows of one dataset; empty without one."""

    def __init__(self, path: Path, stamp: Stamp, table: pa.Table) -> None:
        self.stamp = stamp
        self._path = path
        self._table = table
        self._looks: list[str] = table["look"].to_pylist()
        self._stands = np.zeros(len(self._looks), bool)
        self._changed: Published | None = None
        keys = [np.frombuffer(content, np.uint64) for content in table["keys"].to_pylist()]
        self._keys = np.concatenate([np.zeros(0, np.uint64), *keys])
        self._row_of_key = np.repeat(np.arange(len(keys)), [len(one) for one in keys])

    @staticmethod
    def read(folder: Path, now: Stamp) -> Memory:
        """The rows, if they describe the present dataset."""
        path = folder / TABLE_FILE
        table = read_row_file(path, _schema())
        stamp = _stamp_of(table)
        return Memory(path, stamp, table) if stamp.is_of(now) else Memory.none(folder, now)

    @staticmethod
    def none(folder: Path, now: Stamp) -> Memory:
        """An empty memory, as without a dataset."""
        return Memory(folder / TABLE_FILE, now, _schema().empty_table())

    def __len__(self) -> int:
        return len(self._looks)

    # -- what stands -------------------------------------------------------------------------

    def let_stand(self, looks: Iterable[str], is_held: Callable[[str], bool]) -> None:
        """Let bundles with these looks stand, if their failures (by key) are still in quarantine."""
        wanted = set(looks)
        whole, faults = self._table["whole"].to_pylist(), self._table["faults"].to_pylist()
        for number, look in enumerate(self._looks):
            items = self._quarantine(faults[number])
            held = all(one.built or is_held(one.key) for one in items)
            self._stands[number] = look in wanted and whole[number] and held
        self._changed = None

    @property
    def standing(self) -> frozenset[str]:
        """The looks of all bundles that stand."""
        return frozenset(self._looks[number] for number in np.flatnonzero(self._stands))

    def release(self, bonds: Iterable[Bond]) -> set[str]:
        """Drop bundles that these bonds, or those of dropped bundles, concern; returns their looks."""
        before = self.standing
        touched = np.array([key for bond in bonds for key in _keys(bond)], np.uint64)
        while True:
            falling = self._keys[~self._stands[self._row_of_key]]
            hit = np.isin(self._keys, np.union1d(touched, falling)) & self._stands[self._row_of_key]
            if not hit.any():
                return set(before - self.standing)
            self._stands[self._row_of_key[hit]] = False
            self._changed = None

    # -- what is known -----------------------------------------------------------------------

    def changed(self) -> Published:
        """The recordings of bundles that do not stand."""
        if self._changed is None:
            self._changed = self._read_changed()
        return self._changed

    def _read_changed(self) -> Published:
        parts = (
            unpacked(_Recordings, self._table["recordings"][number].as_py(), self._path).recordings
            for number in np.flatnonzero(~self._stands).tolist()
        )
        return Published(recordings=tuple(one for part in parts for one in part))

    def quarantined(self) -> list[Quarantined]:
        """Of bundles that stand."""
        return [one for text in self._standing_column("faults") for one in self._quarantine(text)]

    def drops(self) -> tuple[bytes, ...]:
        """The packed `Drops` of bundles that stand."""
        return tuple(self._standing_column("drops"))

    def trims(self) -> int:
        """Of bundles that stand."""
        return sum(self._standing_column("trims"))

    def segments(self) -> bytes:
        """The `segment_id` of every recording in bundles that stand."""
        return b"".join(self._standing_column("segments"))

    def save(self, rows: Iterable[Row], stamp: Stamp) -> None:
        """Keep the bundles that stand, and add these rows."""
        import pyarrow as pa

        kept = self._table.filter(pa.array(self._stands))
        table = pa.concat_tables([kept, _as_table(rows)]).combine_chunks()
        write_row_file(self._path, table.replace_schema_metadata({_STAMP: to_json(stamp)}))

    def _standing_column(self, name: str) -> list[Any]:
        import pyarrow as pa

        values: list[Any] = self._table[name].filter(pa.array(self._stands)).to_pylist()
        return values

    def _quarantine(self, text: str) -> tuple[Quarantined, ...]:
        return from_json(Quarantine, text, where=str(self._path)).items if text else ()


def remembered(folder: Path) -> frozenset[str]:
    """The looks of all bundles of the last build."""
    return frozenset(read_row_file(folder / TABLE_FILE, _schema())["look"].to_pylist())


def _keys(bond: Bond) -> Iterable[int]:
    """Numbers that two recordings share only if one concerns the other."""
    yield _key_of(bond.recording)
    for tie in bond.ties:
        yield _key_of(hashlib.sha256(tie.encode()).hexdigest())


def _key_of(sha256: str) -> int:
    return int(sha256[:16], 16)


def segment_id_of(one: PublishedRecording) -> bytes:
    """See `segment_id`."""
    return segment_id(one.recording, one.split, one.segment)


def _as_table(rows: Iterable[Row]) -> pa.Table:
    import pyarrow as pa

    schema = _schema()
    # Row by row: what one is made of takes ten times its memory.
    values = [_as_values(row) for row in rows]
    columns = list(zip(*values, strict=True)) or [()] * len(schema)
    return pa.table(dict(zip(schema.names, columns, strict=True)), schema=schema)


def _as_values(row: Row) -> tuple[object, ...]:
    """In order of the schema."""
    return (
        row.look,
        row.whole,
        np.array([k for bond in row.bonds for k in _keys(bond)], np.uint64).tobytes(),
        b"".join(segment_id_of(one) for one in row.published),
        to_json(Quarantine(items=row.quarantined)) if row.quarantined else "",
        sum(drop.kind == "trim" for drop in row.drops),
        packed(Drops(drops=row.drops)),
        packed(_Recordings(recordings=row.published)),
    )


def _stamp_of(table: pa.Table) -> Stamp:
    text = (table.schema.metadata or {}).get(_STAMP)
    try:
        return from_json(Stamp, text, where=TABLE_FILE) if text else Stamp()
    except FormatError:  # of another version, which is rebuilt from the cache
        return Stamp()


def _schema() -> pa.Schema:
    import pyarrow as pa

    return pa.schema(
        [
            ("look", pa.string()),
            ("whole", pa.bool_()),
            ("keys", pa.binary()),
            ("segments", pa.binary()),
            ("faults", pa.string()),
            ("trims", pa.int64()),
            ("drops", pa.binary()),
            ("recordings", pa.binary()),
        ]
    )
