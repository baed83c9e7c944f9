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

import numpy as np

from corpus.schemas.clip import CLIP_FORM
from corpus.schemas.codec import to_json
from corpus.schemas.dataset import (
    CARD_FILE,
    CLIPS_FILE,
    MANIFEST_FILE,
    FileEntry,
    Manifest,
    ShardEntry,
    promised_sizes,
)
from corpus.schemas.files import has_size, sha256_file, storage_errors, write_whole
from corpus.schemas.settings import Settings
from corpus.shards.index import read_rows
from corpus.shards.layout import PlannedShard
from corpus.shards.old import Intact, read_manifest
from corpus.shards.plan import SegmentRef
from corpus.shards.planning import Planned, PlanTask
from corpus.shards.shard_task import ShardWriter
from corpus.shards.swap import FOLDER, finish_swap, swap

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Stays:
    """What stays of the dataset that is there."""

    gone: Sequence[str]
    """Recordings whose clips leave; those of all others stay."""
    segments: bytes
    """`segment_id` of every recording that stays, in any order."""


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

    If nothing has changed at all, only the index is hashed. Shards whose paths are `doubted` are checked
    against the hashes of their clips, whatever their size; nothing that stays may be in one. `writer` decides
    what lays out the dataset and copies the clips, and where the shards are finally stored.

    Raises:
        DatasetError: a recording has two segments, or a segment is cut off.
        DamagedClipError: a clip has changed since it was made.
        NewerSchemaError: `out` was written by a newer version.
        StorageError: the disk is full or the folder read-only.
    """
    ids = bytearray(stays.segments if stays is not None else b"")
    for segment in segments:
        ids += segment.id
    wanted = Wanted(settings=settings, config=config, segments=_made_of(ids))
    with storage_errors(out):
        finish_swap(out)
        old = None if doubted else read_manifest(out)
        if old is not None and wanted.is_met_by(old, out) and Intact.read(out, doubted):
            return old
        for left in out.glob(f"{FOLDER}/plan-*"):  # by a run that was killed
            shutil.rmtree(left, ignore_errors=True)
        task = PlanTask(
            out=out.absolute(),
            segments=segments,
            gone=stays.gone if stays is not None else None,
            doubted=doubted,
            shard_bytes=settings.shards.shard_bytes,
            config=config,
        )
        manifest = stage_planned(out, writer.plan(task), wanted, writer, progress)
        swap(out)
        return manifest


def _made_of(segments: bytes | bytearray) -> str:
    """Digest of the `segment_id`s in order."""
    return hashlib.sha256(np.sort(np.frombuffer(segments, "S32")).tobytes()).hexdigest()


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
        self, planned: Planned, shards: Sequence[ShardEntry], files: Sequence[FileEntry]
    ) -> Manifest:
        return Manifest(
            config=self.config,
            settings=to_json(self.settings),
            clip_schema=CLIP_FORM,
            segments=self.segments,
            recordings=planned.recordings,
            clips=planned.clips,
            windows=planned.windows,
            shards=tuple(shards),
            files=tuple(files),
        )


def stage_planned(
    out: Path,
    planned: Planned,
    wanted: Wanted,
    writer: ShardWriter = _HERE,
    progress: _Progress | None = None,
) -> Manifest:
    """Write beside the folder what it lacks, for `swap` to move in. New clips may already be there."""
    staging = out / FOLDER
    sha256s: dict[str, str] = {}
    moves: set[str] = set()
    for path, (place, sha256) in planned.there.items():
        sha256s[path] = sha256
        if place != path:
            _link(out / place, staging / path)
            moves.add(path)
    sizes = {shard.path: shard.bytes for shard in planned.shards}
    done = sum(sizes[path] for path in sha256s)
    for written in writer.write(out, planned):
        sha256s[written.path] = written.sha256
        if written.staged:
            moves.add(written.path)
        done += sizes[written.path]
        if progress:
            progress(done)
    for name in (CARD_FILE, CLIPS_FILE):
        os.replace(planned.folder / name, staging / name)
    files = [
        FileEntry(path=name, sha256=sha256_file(staging / name), bytes=(staging / name).stat().st_size)
        for name in (CARD_FILE, CLIPS_FILE)
    ]
    manifest = wanted.manifest(
        planned, [_entry(shard, sha256s[shard.path]) for shard in planned.shards], files
    )
    # Last: it makes it a dataset.
    write_whole(staging / MANIFEST_FILE, (to_json(manifest, indent=1) + "\n").encode())
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


def _drop_strays(staging: Path, wanted: Set[str]) -> None:
    """Shards that an interrupted run with other inputs left in the staging folder."""
    for path in sorted(staging.glob("*/*.tar")):
        if path.relative_to(staging).as_posix() not in wanted:
            path.unlink()
