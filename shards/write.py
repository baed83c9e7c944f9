"""Turning segments into shards, their index, a card and a manifest: a whole dataset, or none at all.

Everything is written beside the dataset and moved into place when complete (`swap.py`), so a build that fails
or is killed leaves either the old dataset or the new one. Shards with the same clips as before are not
touched, and a shard that only gets another number is moved, not copied.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from corpus.schemas.clip import CLIP_FORM
from corpus.schemas.codec import to_json
from corpus.schemas.dataset import (
    CARD_FILE,
    CLIPS_FILE,
    MANIFEST_FILE,
    SPLITS,
    FileEntry,
    Manifest,
    ShardEntry,
    promised_sizes,
)
from corpus.schemas.files import has_size, put_in_place, sha256_file, storage_errors, temporary, write_whole
from corpus.schemas.settings import Settings
from corpus.shards.card import COUNTED, dataset_card
from corpus.shards.columns import arrow_schema
from corpus.shards.index import ints, read_rows, texts
from corpus.shards.layout import Kept, Layout, PlannedShard, lay_out
from corpus.shards.old import Old, read_manifest
from corpus.shards.plan import Pieces, SegmentRef, joined, narrowed, segment_pieces
from corpus.shards.shard_task import ShardWriter, clips_digest
from corpus.shards.swap import FOLDER, finish_swap, swap

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "CARD_FILE",
    "CLIPS_FILE",
    "MANIFEST_FILE",
    "SegmentRef",
    "read_manifest",
    "read_rows",
    "write_dataset",
]

_Progress = Callable[[int], None]
"""Gets the bytes of shards that are whole so far."""
_HERE = ShardWriter()
_GROUP_ROWS = 16384
"""Of a row group of clips.parquet, and as many are in memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stays:
    """What stays of the dataset that is there."""

    old: Old
    gone: Sequence[str]
    """Recordings whose clips leave; those of all others stay."""
    segments: bytes
    """`segment_id` of every recording that stays, in any order."""


def _made_of(segments: Sequence[bytes]) -> str:
    """Digest of the `segment_id`s in order."""
    return hashlib.sha256(np.sort(np.frombuffer(b"".join(segments), "S32")).tobytes()).hexdigest()


def write_dataset(
    out: Path,
    segments: Sequence[SegmentRef],
    *,
    settings: Settings,
    config: str,
    doubted: Set[str] = frozenset(),
    stays: Stays | None = None,
    progress: _Progress | None = None,
    writer: ShardWriter = _HERE,
) -> Manifest:
    """Make `out` hold exactly the clips of `segments` and those that stay, in key order.

    If nothing has changed at all, only the manifest is read. Shards whose paths are `doubted` are checked
    against the hashes of their clips, whatever their size; nothing that stays may be in one. `writer` decides
    what copies the clips and where the shards are finally stored.

    Raises:
        DatasetError: a recording has two segments, or a segment is cut off.
        DamagedClipError: a clip has changed since it was made.
        NewerSchemaError: `out` was written by a newer version.
        StorageError: the disk is full or the folder read-only.
    """
    made_of = _made_of([*(segment.id for segment in segments), stays.segments if stays is not None else b""])
    wanted = Wanted(settings=settings, config=config, segments=made_of)
    with storage_errors(out):
        finish_swap(out)
        old = stays.old if stays is not None else Old.read(out, doubted)
        if old is not None and not doubted and wanted.is_met_by(old.manifest, out):
            return old.manifest
        # In the order of the index: most often nothing is left to be sorted.
        new = segment_pieces(sorted(segments, key=lambda s: (SPLITS.index(s.split), s.recording)))
        kept = stays.old.without_recordings(stays.gone) if stays is not None else None
        manifest = stage_dataset(out, old, kept, new, wanted, writer, progress)
        swap(out)
        return manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the manifest will contain besides the files."""

    settings: Settings
    config: str
    segments: str

    def is_met_by(self, old: Manifest, out: Path) -> bool:
        same = (old.settings, old.config, old.segments) == (
            to_json(self.settings),
            self.config,
            self.segments,
        )
        return same and all(has_size(out / path, size) for path, size in promised_sizes(old).items())

    def manifest(
        self, placing: pa.Table, shards: Sequence[ShardEntry], files: Sequence[FileEntry]
    ) -> Manifest:
        return Manifest(
            config=self.config,
            settings=to_json(self.settings),
            clip_schema=CLIP_FORM,
            segments=self.segments,
            recordings=len(placing["recording"].unique()),
            clips=len(placing),
            windows=int(ints(placing["windows"]).sum()),
            shards=tuple(shards),
            files=tuple(files),
        )


def stage_dataset(
    out: Path,
    old: Old | None,
    kept: Kept | None,
    new: Pieces,
    wanted: Wanted,
    writer: ShardWriter = _HERE,
    progress: _Progress | None = None,
) -> Manifest:
    """Write beside the folder what it lacks, for `swap` to move in. New clips may already be there."""
    files = {path: out / path for path in texts(kept.placing["shard"].unique())} if kept is not None else {}
    layout = lay_out(kept, files, new, wanted.settings.shards.shard_bytes)
    staging = out / FOLDER
    staging.mkdir(parents=True, exist_ok=True)
    sha256s: dict[str, str] = {}
    moves: set[str] = set()
    lacking: list[PlannedShard] = []
    for shard in layout.shards:
        entry = old.known.get(clips_digest(layout.sha256s(shard))) if old is not None else None
        if entry is None or not has_size(out / entry.path, entry.bytes):
            lacking.append(shard)
            continue
        sha256s[shard.path] = entry.sha256
        if entry.path != shard.path:
            _link(out / entry.path, staging / shard.path)
            moves.add(shard.path)
    sizes = {shard.path: shard.bytes for shard in layout.shards}
    done = sum(sizes[path] for path in sha256s)
    for written in writer.write(out, layout, lacking):
        sha256s[written.path] = written.sha256
        if written.staged:
            moves.add(written.path)
        done += sizes[written.path]
        if progress:
            progress(done)
    entries = [_entry(shard, sha256s[shard.path]) for shard in layout.shards]
    manifest = _stage_views(staging, layout, entries, wanted)
    _drop_strays(staging, moves)
    return manifest


def _link(source: Path, target: Path) -> None:
    """A second name for a shard that gets another number; a copy where the file system has no links."""
    target.parent.mkdir(exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _entry(shard: PlannedShard, sha256: str) -> ShardEntry:
    return ShardEntry(
        path=shard.path,
        split=shard.split,
        sha256=sha256,
        bytes=shard.bytes,
        clips=shard.clips,
        windows=shard.windows,
    )


def _stage_views(staging: Path, layout: Layout, entries: Sequence[ShardEntry], wanted: Wanted) -> Manifest:
    """The index and the card, then the manifest that makes it a dataset."""
    counted = _write_index(staging / CLIPS_FILE, layout)
    write_whole(staging / CARD_FILE, dataset_card(entries, counted, wanted.config).encode())
    files = [
        FileEntry(path=name, sha256=sha256_file(staging / name), bytes=(staging / name).stat().st_size)
        for name in (CARD_FILE, CLIPS_FILE)
    ]
    manifest = wanted.manifest(layout.placing, entries, files)
    write_whole(staging / MANIFEST_FILE, (to_json(manifest, indent=1) + "\n").encode())
    return manifest


def _write_index(path: Path, layout: Layout) -> pa.Table:
    """clips.parquet, a row group at a time; the columns that the card counts."""
    import pyarrow.parquet as pq

    schema = arrow_schema()
    counted = [narrowed(schema.empty_table(), COUNTED)]
    with open(temporary(path), "wb") as file:
        with pq.ParquetWriter(file, schema, compression="zstd") as writer:
            for rows in layout.rows(_GROUP_ROWS):
                writer.write_table(rows, _GROUP_ROWS)
                counted.append(narrowed(rows, COUNTED))
            if not len(layout.placing):
                writer.write_table(schema.empty_table(), _GROUP_ROWS)
        file.flush()
        os.fsync(file.fileno())
    put_in_place(path)
    return joined(counted)


def _drop_strays(staging: Path, wanted: Set[str]) -> None:
    """Shards that an interrupted run with other inputs left in the staging folder."""
    for path in sorted(staging.glob("*/*.tar")):
        if path.relative_to(staging).as_posix() not in wanted:
            path.unlink()
