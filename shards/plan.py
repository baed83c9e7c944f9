"""Which clips go into which shard."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from corpus.schemas.codec import from_json
from corpus.schemas.dataset import SPLITS
from corpus.schemas.errors import DatasetError
from corpus.schemas.files import has_size
from corpus.shards.columns import ClipRow
from corpus.shards.cut import ROWS_FILE, SEGMENT_FILE
from corpus.shards.tar import END


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentRef:
    """What `cut` left for one recording, and the digest of all that went into it."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardPlan:
    """A shard to be: which clips, in order."""

    path: str
    split: str
    pieces: tuple[Piece, ...]

    @property
    def bytes(self) -> int:
        return sum(piece.row.size for piece in self.pieces) + len(END)

    @property
    def clips(self) -> tuple[str, ...]:
        """What the shard's bytes follow from."""
        return tuple(piece.row.sha256 for piece in self.pieces)

    def rows(self) -> Iterator[ClipRow]:
        """The rows with offsets as they are in the shard."""
        at = 0
        for piece in self.pieces:
            row = piece.row
            moved = tuple(offset - row.offset + at for offset in row.member_offsets)
            yield dataclasses.replace(row, shard=self.path, offset=at, member_offsets=moved)
            at += row.size


def segment_pieces(segment: SegmentRef) -> list[Piece]:
    path = segment.folder / ROWS_FILE
    rows = from_json(tuple[ClipRow, ...], path.read_bytes(), where=str(path))
    file = segment.folder / SEGMENT_FILE
    wrong = [row for row in rows if (row.recording, row.split) != (segment.recording, segment.split)]
    if wrong or not has_size(file, sum(row.size for row in rows)):
        raise DatasetError("the segment is not the one its rows describe", where=str(file))
    return [Piece(row=row, file=file) for row in rows]


def plan_shards(pieces: Iterable[Piece], shard_bytes: int) -> Iterator[ShardPlan]:
    """Shards in order of split and key; a clip that would take a shard past its size opens the next."""
    ordered = sorted(pieces, key=lambda piece: (SPLITS.index(piece.row.split), piece.row.key))
    key, count = Counter(piece.row.key for piece in ordered).most_common(1)[0] if ordered else ("", 0)
    if count > 1:
        raise DatasetError(f"two clips have the key {key}", todo="the same recording is given twice")
    for split, group in groupby(ordered, key=lambda piece: piece.row.split):
        full: list[list[Piece]] = [[]]
        size = len(END)
        for piece in group:
            if full[-1] and size + piece.row.size > shard_bytes:
                full.append([])
                size = len(END)
            full[-1].append(piece)
            size += piece.row.size
        for number, shard in enumerate(full):
            yield ShardPlan(path=f"{split}/{split}-{number:06d}.tar", split=split, pieces=tuple(shard))
