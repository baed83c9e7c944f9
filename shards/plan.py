"""The sources from which a dataset's clips are written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from corpus.schemas.codec import from_json
from corpus.schemas.errors import DatasetError
from corpus.schemas.files import has_size
from corpus.shards.columns import ClipRow
from corpus.shards.cut import ROWS_FILE, SEGMENT_FILE


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentRef:
    """The result of `cut` for one recording, and the digest of everything that went into it."""

    folder: Path
    recording: str
    """Content hash, 64 hex digits."""
    split: str
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A clip and the file its bytes are in, at the offsets its row names."""

    row: ClipRow
    file: Path


def segment_pieces(segment: SegmentRef) -> list[Piece]:
    path = segment.folder / ROWS_FILE
    rows = from_json(tuple[ClipRow, ...], path.read_bytes(), where=str(path))
    file = segment.folder / SEGMENT_FILE
    # A cache folder put under another name would put one recording's clips under another's key.
    wrong = [row for row in rows if (row.recording, row.split) != (segment.recording, segment.split)]
    if wrong or not has_size(file, sum(row.size for row in rows)):
        raise DatasetError("the segment is not the one its rows describe", where=str(file))
    return [Piece(row=row, file=file) for row in rows]
