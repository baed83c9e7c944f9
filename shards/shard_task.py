"""Writing one shard from clips stored elsewhere: a task for any process that sees the same folders.

    planning.py   which clips go into which shard  ->  ShardTask
    worker        copy, check, sync, send          ->  ShardDone: the digest, and where the shard stands

A task may be done twice, even at once, or interrupted and repeated: complete files are reused, and a file
gets its name only when it is complete. If the dataset is in a store, the worker sends the shard there under
its digest and leaves a stand-in.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from corpus.schemas.codec import from_json, to_json
from corpus.schemas.errors import FormatError
from corpus.schemas.files import has_size, storage_errors, write_whole
from corpus.schemas.store import Store
from corpus.shards.copy import FarSource, sha256_if_same, write_shard
from corpus.shards.layout import PlannedShard
from corpus.shards.old import clips_digest
from corpus.shards.planning import Planned, PlanTask, plan
from corpus.shards.runs import Run, read_runs
from corpus.shards.stand_in import is_stand_in, stand_in
from corpus.shards.swap import FOLDER


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardTask:
    """A shard to write, and where its clips are."""

    out: Path
    """The dataset's folder, absolute."""
    path: str
    bytes: int
    runs: Path
    """The file with its runs."""
    store: Store | None = None
    """Where the shard will be stored, if not in the folder."""
    names: Mapping[Path, str] = field(default_factory=dict)
    """Files that must be read from the store, with their names there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardDone:
    """A complete shard."""

    path: str
    sha256: str
    staged: bool
    """Whether it, or its stand-in, still has to be moved; otherwise it is already in place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sent:
    """Kept beside a stand-in that awaits its move."""

    clips: str
    """Digest of the clips."""
    sha256: str


Spread = Callable[[Callable[[ShardTask], ShardDone], Iterable[ShardTask], int], Iterator[ShardDone]]
"""Runs a function on each task wherever there is capacity, given the total bytes; results in any order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Afar:
    """The store with a dataset whose folder on this machine holds stand-ins."""

    store: Store
    names: Mapping[str, str]
    """Names of the shards in the store, by their paths in the dataset."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardWriter:
    """What lays out a dataset and writes its shards, and where they are finally stored."""

    plan: Callable[[PlanTask], Planned] = plan
    """Here or elsewhere."""
    spread: Spread | None = None
    """None: in this process, one after another."""
    afar: Afar | None = None

    def write(self, out: Path, planned: Planned) -> Iterator[ShardDone]:
        """Write the shards that are lacking beside the dataset, in any order; raises like `stage_shard`."""
        shards = planned.lacking
        tasks = (self._task(out.absolute(), planned, shard) for shard in shards)
        if self.spread is None:
            return map(stage_shard, tasks)
        return self.spread(stage_shard, tasks, sum(shard.bytes for shard in shards))

    def _task(self, out: Path, planned: Planned, shard: PlannedShard) -> ShardTask:
        names: dict[Path, str] = {}
        if self.afar is not None:
            sources = {out / path: path for path in planned.sources[shard.path]}
            names = {file: self.afar.names[path] for file, path in sources.items() if is_stand_in(file)}
        return ShardTask(
            out=out,
            path=shard.path,
            bytes=shard.bytes,
            runs=planned.runs_file(shard),
            store=self.afar.store if self.afar is not None else None,
            names=names,
        )


def stage_shard(task: ShardTask) -> ShardDone:
    """Write the shard beside the dataset, unless an interrupted run has already done so.

    Raises:
        DamagedClipError: a clip has changed since it was made.
        StorageError: the disk is full, the folder read-only, or the store refuses.
    """
    path = task.out / FOLDER / task.path
    with storage_errors(task.out):
        runs = read_runs(task.runs)
        clips = clips_digest(sha256 for run in runs for sha256 in run.sha256s).hex()
        if task.store is not None and (sha256 := _sent_before(task, path, clips)):
            return ShardDone(path=task.path, sha256=sha256, staged=True)
        place, sha256 = _whole(task, path, runs)
        if task.store is not None:
            _send(task.store, place, sha256, task.bytes)
            if place == path:
                write_whole(_note(path), to_json(_Sent(clips=clips, sha256=sha256)).encode())
            stand_in(place, task.bytes)
    return ShardDone(path=task.path, sha256=sha256, staged=place == path)


def _whole(task: ShardTask, path: Path, runs: Sequence[Run]) -> tuple[Path, str]:
    """The path of the whole shard on this machine, and its sha256."""
    sizes = [size for run in runs for size in run.sizes]
    sha256s = [sha256 for run in runs for sha256 in run.sha256s]
    for place in (path, task.out / task.path):  # what an interrupted run left, or what is doubted
        if has_size(place, task.bytes) and (sha256 := sha256_if_same(place, sizes, sha256s)):
            return place, sha256
    path.parent.mkdir(parents=True, exist_ok=True)
    far = {file: FarSource(task.store, name) for file, name in task.names.items() if task.store is not None}
    # A machine that was given up may still be writing this shard.
    own = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    try:
        sha256 = write_shard(own, runs, far)
        own.replace(path)
    finally:
        own.unlink(missing_ok=True)
    return path, sha256


def _send(store: Store, place: Path, sha256: str, size: int) -> None:
    """Put the shard under its digest, whole or not at all; an earlier upload had the same bytes."""
    name = f"{FOLDER}/{sha256}"
    if not _has(store, name, size):
        store.publish(place, name)


def _has(store: Store, name: str, size: int) -> bool:
    try:
        # Read its last byte: for a whole file S3 returns only a number if credentials have expired.
        return len(store.open_range(name, size - 1, size)) == 1
    except FileNotFoundError:
        return False


def _sent_before(task: ShardTask, path: Path, clips: str) -> str | None:
    """The sha256 of the shard, if an interrupted run has uploaded it and left a stand-in."""
    note = _note(path)
    try:
        sent = from_json(_Sent, note.read_bytes(), where=str(note))
    except (FileNotFoundError, FormatError):
        return None
    same = sent.clips == clips and has_size(path, task.bytes) and is_stand_in(path)
    if not same or task.store is None or not _has(task.store, f"{FOLDER}/{sent.sha256}", task.bytes):
        return None
    return sent.sha256


def _note(path: Path) -> Path:
    return path.with_name(path.name + ".sent")
