"""Segments become shards, their index, a card and a manifest: a whole dataset, or none at all.

All of it is written beside the dataset and moved into place when it is whole (`swap.py`), so a build that
fails or is killed leaves the old dataset or the new one. Shards that hold the same clips as before are not
touched, and one that only has another number now is moved, not copied.
"""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from corpus.schemas.clip import CLIP_FORM
from corpus.schemas.codec import digest, from_json, to_json
from corpus.schemas.dataset import (
    CARD_FILE,
    CLIPS_FILE,
    MANIFEST_FILE,
    FileEntry,
    Manifest,
    ShardEntry,
    promised_sizes,
)
from corpus.schemas.errors import FormatError, NewerSchemaError
from corpus.schemas.files import has_size, inside, sha256_file, storage_errors, write_whole
from corpus.schemas.settings import Settings
from corpus.shards.card import dataset_card
from corpus.shards.index import ints, read_index, read_rows
from corpus.shards.layout import PlannedShard, lay_out
from corpus.shards.plan import Pieces, SegmentRef, segment_pieces
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


def write_dataset(
    out: Path,
    segments: Sequence[SegmentRef],
    *,
    settings: Settings,
    config: str,
    unchanged: Set[str] = frozenset(),
    doubted: Set[str] = frozenset(),
    progress: _Progress | None = None,
    writer: ShardWriter = _HERE,
) -> Manifest:
    """Make `out` hold exactly the clips of `segments`, in key order.

    The clips of `unchanged` recordings are those the dataset has already: their segments are not read. With
    nothing changed at all nothing is read but the manifest. Shards whose paths are `doubted` are read and
    held to the hashes of their clips, whatever their size says; none of the `unchanged` may stand in one.
    `writer` says who copies the clips, and where the shards stand in the end.

    Raises:
        DatasetError: two segments of one recording, or a segment that is cut off.
        DamagedClipError: a clip is not what it was when it was made.
        NewerSchemaError: `out` was written by a newer version.
        StorageError: disk full or folder read-only.
    """
    ordered = sorted(segments, key=lambda s: s.recording)
    made_of = digest([[s.recording, s.split, s.digest] for s in ordered])
    wanted = Wanted(settings=settings, config=config, segments=made_of)
    with storage_errors(out):
        finish_swap(out)
        old = Old.read(out, doubted)
        if old is not None and not doubted and wanted.is_met_by(old.manifest, out):
            return old.manifest
        new = segment_pieces(s for s in ordered if s.recording not in unchanged)
        kept = old.rows_with("recording", unchanged) if old and unchanged else None
        manifest = stage_dataset(out, old, kept, new, wanted, writer, progress)
        swap(out)
        return manifest


def read_manifest(out: Path) -> Manifest | None:
    """The manifest of a dataset; None where there is none or it is broken."""
    path = out / MANIFEST_FILE
    try:
        return from_json(Manifest, inside(out, MANIFEST_FILE).read_bytes(), where=str(path))
    except NewerSchemaError:
        raise
    except (OSError, FormatError):
        return None


def standing(out: Path, doubted: Set[str]) -> frozenset[str]:
    """The recordings whose clips all stand in shards of the dataset that nobody doubts."""
    old = Old.read(out, doubted)
    if old is None:
        return frozenset()
    sound = {entry.path for entry in old.known.values() if has_size(out / entry.path, entry.bytes)}
    # Each recording lies in a shard or two: a million rows are few pairs.
    pairs = old.table.group_by(["recording", "shard"]).aggregate([])
    rows = list(_pairs(pairs, "recording", "shard"))
    return frozenset(one for one, _ in rows) - {one for one, shard in rows if shard not in sound}


def _pairs(table: pa.Table, first: str, second: str) -> Iterator[tuple[str, str]]:
    """Two columns side by side, in batches, so that a million rows are never all Python objects at once."""
    for batch in table.select([first, second]).to_batches(max_chunksize=16384):
        yield from zip(batch[first].to_pylist(), batch[second].to_pylist(), strict=True)


def _hashes(manifest: Manifest) -> dict[str, str]:
    return {entry.path: entry.sha256 for entry in manifest.files}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the manifest will say beside the files."""

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

    def manifest(self, table: pa.Table, shards: Sequence[ShardEntry], files: Sequence[FileEntry]) -> Manifest:
        import pyarrow.compute as pc

        return Manifest(
            config=self.config,
            settings=to_json(self.settings),
            clip_schema=CLIP_FORM,
            segments=self.segments,
            recordings=pc.count_distinct(table["recording"]).as_py(),
            clips=len(table),
            windows=int(ints(table["windows"]).sum()),
            shards=tuple(shards),
            files=tuple(files),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Old:
    """The dataset that stands in the folder."""

    manifest: Manifest
    table: pa.Table
    known: dict[bytes, ShardEntry]
    """By a digest of the clips they hold, the shards it vouches for."""

    @staticmethod
    def read(out: Path, doubted: Set[str]) -> Old | None:
        """None where there is no unbroken one."""
        manifest = read_manifest(out)
        if manifest is None:
            return None
        try:
            if sha256_file(inside(out, CLIPS_FILE)) != _hashes(manifest).get(CLIPS_FILE):
                return None
            table = read_index(out)
        except (OSError, FormatError):
            return None
        named = {(entry.path, entry.split) for entry in manifest.shards}
        there = table.group_by(["shard", "split"]).aggregate([])
        if not named.issuperset(_pairs(there, "shard", "split")):
            return None
        for entry in manifest.shards:
            inside(out, entry.path)
        entries = {entry.path: entry for entry in manifest.shards if entry.path not in doubted}
        rows = _pairs(table, "shard", "sha256")
        known = {
            clips_digest(sha256 for _, sha256 in group): entries[path]
            for path, group in groupby(rows, key=lambda row: row[0])
            if path in entries
        }
        return Old(manifest=manifest, table=table, known=known)

    def rows_with(self, column: str, values: Set[str]) -> pa.Table:
        import pyarrow as pa
        import pyarrow.compute as pc

        return self.table.filter(pc.is_in(self.table[column], pa.array(list(values), pa.string())))


def stage_dataset(
    out: Path,
    old: Old | None,
    kept: pa.Table | None,
    new: Pieces,
    wanted: Wanted,
    writer: ShardWriter = _HERE,
    progress: _Progress | None = None,
) -> Manifest:
    """Write what the folder lacks beside it; `swap` moves it in. New clips may stand there already."""
    files = {path: out / path for path in kept["shard"].unique().to_pylist()} if kept is not None else {}
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
    manifest = _stage_views(staging, layout.table, entries, wanted)
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


def _stage_views(staging: Path, table: pa.Table, entries: Sequence[ShardEntry], wanted: Wanted) -> Manifest:
    """The index and the card, then the manifest that makes it a dataset."""
    import pyarrow.parquet as pq

    content = io.BytesIO()
    pq.write_table(table, content, compression="zstd", row_group_size=16384)
    write_whole(staging / CLIPS_FILE, content.getvalue())
    write_whole(staging / CARD_FILE, dataset_card(entries, table, wanted.config).encode())
    files = [
        FileEntry(path=name, sha256=sha256_file(staging / name), bytes=(staging / name).stat().st_size)
        for name in (CARD_FILE, CLIPS_FILE)
    ]
    manifest = wanted.manifest(table, entries, files)
    write_whole(staging / MANIFEST_FILE, (to_json(manifest, indent=1) + "\n").encode())
    return manifest


def _drop_strays(staging: Path, wanted: Set[str]) -> None:
    """Shards that an interrupted run with other inputs left in the staging folder."""
    for path in sorted(staging.glob("*/*.tar")):
        if path.relative_to(staging).as_posix() not in wanted:
            path.unlink()
