"""The only declaration of clips.parquet's columns: the fields of `ClipRow`, in order.

To add a column, add a field here; the writer, the reader's lookups and `verify` follow.
"""

from __future__ import annotations

import dataclasses
import re
import types
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_origin, get_type_hints

from corpus.schemas.clip import MOST_WINDOWS
from corpus.schemas.codec import from_plain
from corpus.schemas.files import is_inside_name
from corpus.schemas.quality import Quality

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipRow:
    """One clip: where its bytes are, where it comes from, what it holds."""

    key: str
    split: str
    shard: str = ""
    """Path of its tar in the dataset; "" while the clip is in a segment."""
    offset: int
    """First byte of its first header, in the shard (in the segment, before it is written)."""
    size: int
    """Bytes of its five members with headers and padding."""
    member_offsets: tuple[int, ...]
    """First byte of each member's content, in the order of `schemas.clip.MEMBERS`, counted like `offset`."""
    member_sizes: tuple[int, ...]
    sha256: str
    """Digest of those `size` bytes."""

    recording: str
    """Content hash, 64 hex digits."""
    uri: str
    licence: str | None
    consent: str | None
    conversation: str | None
    """Recordings of one conversation are in the same split."""
    named_speakers: tuple[str, ...]
    """People known by name in the recording; each appears in only one split."""
    speakers: tuple[str, ...]
    """In channel order; the room is the channel after the last."""

    first_window: int
    windows: int
    start_us: int
    stop_us: int
    sample_rate_hz: int

    turns: int
    """How many turns overlap the clip; the same for words, cues and events."""
    words: int
    cues: int
    events: int
    speech_us: int
    """Time in which anybody talks, within the clip."""
    overlap_us: int
    """Time in which two or more talk."""
    pictures: int
    """Windows that have a picture."""

    unreliable_share: float
    """Share of all frames of all channels whose sound is not only the named speaker's."""
    separated_share: float
    """Share of frames that are a separator's estimate."""
    padded_share: float
    """Share of frames for which the source has no sound."""
    mix_peak: float
    """Largest absolute sample of the mix, 1.0 is full scale."""
    mix_rms: float
    """Root mean square of the mix, 1.0 is full scale."""

    config: str
    """Digest of the settings that made the clip."""

    snr_db: float | None = None
    """This and all following are fields of `schemas.quality.Quality`; null in datasets of `corpus.clip/2`."""
    clipping_share: float | None = None
    bandwidth_hz: float | None = None
    speech_share: float | None = None
    overlap_share: float | None = None
    monologue_us: int | None = None
    words_per_second: float | None = None
    word_confidence: float | None = None
    diarization_confidence: float | None = None
    language: str | None = None
    language_probability: float | None = None
    room_share: float | None = None
    separation_gain_db: float | None = None
    dnsmos_signal: float | None = None
    dnsmos_background: float | None = None
    dnsmos_overall: float | None = None

    def __post_init__(self) -> None:
        """Names that become paths, and figures that are counted with; `verify` holds the rest to the clip."""
        if re.fullmatch("[0-9a-f]{64}", self.recording) is None:
            raise ValueError(f"recording {self.recording[:80]!r} is not a content hash")
        if self.shard and not is_inside_name(self.shard):
            raise ValueError(f"{self.shard[:80]!r} is not a path inside the dataset")
        if not 1 <= self.windows <= MOST_WINDOWS or self.first_window < 0:
            raise ValueError(f"{self.key[:80]}: {self.windows} windows from {self.first_window}")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Column:
    """A column of clips.parquet."""

    name: str
    kind: str
    """`string`, `int64`, `double`, `list<string>` or `list<int64>`."""
    nullable: bool


_KINDS: dict[Any, str] = {str: "string", int: "int64", float: "double"}


def _column(name: str, hint: Any) -> _Column:
    # `X | None` is the only union among the fields.
    # Parquet's schema follows from the annotations alone.
    nullable = get_origin(hint) is types.UnionType
    inner = get_args(hint)[0] if nullable else hint
    kind = f"list<{_KINDS[get_args(inner)[0]]}>" if get_origin(inner) is tuple else _KINDS[inner]
    return _Column(name=name, kind=kind, nullable=nullable)


ADDED = frozenset(field.name for field in dataclasses.fields(Quality))
"""Columns that datasets of earlier forms lack: null there."""
COLUMNS = tuple(_column(name, hint) for name, hint in get_type_hints(ClipRow).items())


@cache
def arrow_schema() -> pa.Schema:
    import pyarrow as pa

    scalars = {"string": pa.string(), "int64": pa.int64(), "double": pa.float64()}

    def arrow_type(kind: str) -> pa.DataType:
        if not kind.startswith("list<"):
            return scalars[kind]
        return pa.list_(pa.field("element", scalars[kind[5:-1]], nullable=False))

    return pa.schema([pa.field(c.name, arrow_type(c.kind), nullable=c.nullable) for c in COLUMNS])


def rows_table(rows: Sequence[ClipRow]) -> pa.Table:
    import pyarrow as pa

    schema = arrow_schema()
    columns = [
        pa.array([_plain(getattr(row, column.name)) for row in rows], schema.field(column.name).type)
        for column in COLUMNS
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def write_rows(path: Path, rows: Sequence[ClipRow]) -> None:
    """The rows as an Arrow stream."""
    import pyarrow as pa

    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, arrow_schema()) as stream:
        stream.write_table(rows_table(rows))


def table_rows(table: pa.Table, *, where: str = "") -> Iterator[ClipRow]:
    """The rows of a clips.parquet; raises FormatError if a column is missing or of another type."""
    # In batches, so that a million rows are never all Python objects at once.
    for batch in table.to_batches(max_chunksize=4096):
        for plain in batch.to_pylist():
            yield from_plain(ClipRow, plain, where=where)


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value
