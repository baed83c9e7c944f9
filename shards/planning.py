"""Laying out a dataset: which clip goes into which shard, and the index and card that follow from it.

This is a task for any process that sees the same folders: of a million clips the process that drives a build
holds none. It writes into a folder of its own below the staging folder, so that it may be done twice.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from corpus.schemas.dataset import CARD_FILE, CLIPS_FILE
from corpus.schemas.files import has_size, put_in_place, storage_errors, temporary, write_whole
from corpus.shards.card import COUNTED, dataset_card
from corpus.shards.columns import arrow_schema
from corpus.shards.copy import DamagedClipError
from corpus.shards.index import ints, texts
from corpus.shards.layout import Kept, Layout, PlannedShard, lay_out
from corpus.shards.old import Old, clips_digest
from corpus.shards.plan import Pieces, joined, narrowed, segment_pieces
from corpus.shards.runs import write_runs
from corpus.shards.segment_rows import SegmentRef
from corpus.shards.swap import FOLDER

if TYPE_CHECKING:
    import pyarrow as pa

_GROUP_ROWS = 16384
"""Of a row group of clips.parquet, and as many are in memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanTask:
    """A dataset to be laid out."""

    out: Path
    """Its folder, absolute."""
    segments: Sequence[SegmentRef]
    """The clips that enter it, in order of split and recording."""
    gone: Sequence[str] | None
    """Recordings whose clips leave it, while those of all others stay; None if nothing stays."""
    doubted: Set[str]
    """Its files that may be damaged."""
    shard_bytes: int
    config: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A dataset that is laid out."""

    folder: Path
    """With the index, the card, and the runs of each shard that has to be written."""
    shards: tuple[PlannedShard, ...]
    there: Mapping[str, tuple[str, str]]
    """Shards that need not be written: where each is now, and its sha256."""
    sources: Mapping[str, tuple[str, ...]]
    """Shards of the present dataset from which those to be written take clips."""
    recordings: int
    clips: int
    windows: int

    def runs_file(self, shard: PlannedShard) -> Path:
        return _runs_file(self.folder, shard)

    @property
    def lacking(self) -> list[PlannedShard]:
        """The shards that have to be written."""
        return [shard for shard in self.shards if shard.path not in self.there]


def plan(task: PlanTask) -> Planned:
    """Lay out the dataset.

    Raises:
        DamagedClipError: the index of a dataset of which something stays cannot be used.
        DatasetError: a recording has two segments, or a segment is cut off.
        StorageError: the disk is full or the folder read-only.
    """
    with storage_errors(task.out):
        old = Old.read(task.out, task.doubted)
        kept = None
        if task.gone is not None:
            if old is None:
                raise DamagedClipError(task.out / CLIPS_FILE)
            kept = old.without_recordings(task.gone)
        return plan_pieces(task.out, old, kept, segment_pieces(task.segments), task.shard_bytes, task.config)


def plan_pieces(
    out: Path, old: Old | None, kept: Kept | None, new: Pieces, shard_bytes: int, config: str
) -> Planned:
    """As `plan`, of pieces that are known, and of what is kept of the old dataset."""
    files = {path: out / path for path in texts(kept.placing["shard"].unique())} if kept is not None else {}
    layout = lay_out(kept, files, new, shard_bytes)
    folder = out / FOLDER / f"plan-{secrets.token_hex(8)}"
    folder.mkdir(parents=True)
    there: dict[str, tuple[str, str]] = {}
    sources: dict[str, tuple[str, ...]] = {}
    for shard in layout.shards:
        entry = old.known.get(clips_digest(layout.sha256s(shard))) if old is not None else None
        if entry is not None and has_size(out / entry.path, entry.bytes):
            there[shard.path] = entry.path, entry.sha256
            continue
        runs = list(layout.runs(shard))
        write_runs(_runs_file(folder, shard), runs)
        ours = sorted({Path(run.file) for run in runs}.intersection(files.values()))
        sources[shard.path] = tuple(file.relative_to(out).as_posix() for file in ours)
    counted = _write_index(folder / CLIPS_FILE, layout)
    splits = {shard.split for shard in layout.shards}
    write_whole(folder / CARD_FILE, dataset_card(splits, counted, config).encode())
    return Planned(
        folder=folder,
        shards=layout.shards,
        there=there,
        sources=sources,
        recordings=len(layout.placing["recording"].unique()),
        clips=len(layout.placing),
        windows=int(ints(layout.placing["windows"]).sum()),
    )


def _runs_file(folder: Path, shard: PlannedShard) -> Path:
    return folder / f"{shard.path}.runs"


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
