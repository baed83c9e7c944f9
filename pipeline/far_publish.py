"""Publishing a dataset from the work folder to a URL, which always holds either the old dataset or the new.

URL/.rewrite/<sha256>         a new file, under the digest of its bytes
URL/.cache/commit-000007.json the names of these files: put only if there is none with this number

Until the commit exists the dataset is unchanged. After that, the next build finishes it if this one does not:
the files are copied within the store to their names, the manifest last. No manifest is ever removed; a reader
who comes in between finds bytes that do not match its manifest, and reports it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from corpus.pipeline.far_bring import KEPT, VIEWS, FarDataset, look
from corpus.pipeline.far_lease import Lease, put_new
from corpus.pipeline.state import STATE
from corpus.schemas.codec import from_json, to_json
from corpus.schemas.dataset import CARD_FILE, CLIPS_FILE, MANIFEST_FILE, Manifest, is_shard_name
from corpus.schemas.errors import DatasetError, LockedError, StorageError
from corpus.schemas.files import is_inside_name, sha256_file
from corpus.schemas.store import Store
from corpus.shards.stand_in import is_stand_in
from corpus.shards.swap import FOLDER
from corpus.shards.write import read_manifest

_COMMIT = re.compile(rf"{re.escape(STATE)}/commit-(\d{{6}})\.json")
_KEPT_COMMITS = 20
_AT_ONCE = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """A file and the name it will get."""

    sha256: str
    name: str

    def __post_init__(self) -> None:
        if not is_inside_name(self.name) or re.fullmatch("[0-9a-f]{64}", self.sha256) is None:
            raise ValueError(f"{self.name!r} is not a file of a dataset")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Commit:
    """The files to copy into place, the manifest last."""

    moves: tuple[Move, ...]


def finish_commit(store: Store, there: FarDataset) -> FarDataset:
    """Finish the last commit if its build was killed; returns the dataset after it.

    Raises:
        FormatError: the commit is damaged.
    """
    numbers = _commits(there)
    if not numbers or not any(name.startswith(f"{FOLDER}/") for name in there.listed):
        return there
    name = _commit_name(numbers[-1])
    commit = from_json(_Commit, store.open_range(name), where=f"{store.shown}/{name}")
    # All of it stands there until all of it is applied; what else is staged awaits a commit of its own.
    if not commit.moves or any(f"{FOLDER}/{move.sha256}" not in there.listed for move in commit.moves):
        return there
    _apply(store, commit)
    return _cleaned(store, look(store), numbers)


def publish_far(store: Store, work: Path, there: FarDataset, lease: Lease) -> FarDataset:
    """Publish the work folder's dataset at the URL; files that are already there are not sent.

    Raises:
        DatasetError: a shard is missing both here and there.
        LockedError: another build has published in the meantime.
        StorageError: the store refuses.
    """
    manifest = read_manifest(work)
    if manifest is None:
        raise DatasetError("no dataset to publish", where=str(work), todo="run the same command again")
    numbers = _commits(there)
    staged = {one.name: one.bytes for one in store.list(FOLDER)}  # workers have sent shards meanwhile
    moves = [*_stage_shards(store, work, there, manifest, staged), *_stage_others(store, work, staged)]
    _check_staged(store, moves)
    lease.check()
    number = numbers[-1] + 1 if numbers else 1
    commit = _Commit(moves=tuple(moves))
    if not put_new(store, _commit_name(number), to_json(commit).encode()):
        todo = "run the same command again"
        raise LockedError("another build has published here in the meantime", where=store.shown, todo=todo)
    _apply(store, commit)
    return _cleaned(store, look(store), [*numbers, number])


def _stage_shards(
    store: Store, work: Path, there: FarDataset, manifest: Manifest, staged: Mapping[str, int]
) -> list[Move]:
    old = {entry.path: entry.sha256 for entry in there.manifest.shards} if there.manifest else {}
    moves = []
    for entry in manifest.shards:
        name = f"{FOLDER}/{entry.sha256}"
        stands = there.shards.get(entry.sha256)
        # What was sent takes the place of what stands: that may have been found damaged.
        is_staged = staged.get(name) == entry.bytes
        if not is_staged and stands == entry.path and old.get(entry.path) == entry.sha256:
            continue
        moves.append(Move(sha256=entry.sha256, name=entry.path))
        if is_staged:
            continue
        if stands is not None:
            store.copy(stands, name)
        else:
            _send_shard(store, work / entry.path, entry.sha256)
    return moves


def _send_shard(store: Store, path: Path, sha256: str) -> None:
    if is_stand_in(path) or sha256_file(path) != sha256:
        path.unlink()
        todo = "run the same command again: its clips are built again"
        raise DatasetError("a shard does not match the manifest", where=str(path), todo=todo)
    store.publish(path, f"{FOLDER}/{sha256}")


def _stage_others(store: Store, work: Path, staged: Mapping[str, int]) -> list[Move]:
    moves = []
    # The manifest last: a commit is applied in order.
    for name in (*KEPT, *VIEWS, CLIPS_FILE, CARD_FILE, MANIFEST_FILE):
        path = work / name
        if not path.is_file():
            continue
        move = Move(sha256=sha256_file(path), name=name)
        if staged.get(f"{FOLDER}/{move.sha256}") != path.stat().st_size:
            store.publish(path, f"{FOLDER}/{move.sha256}")
        moves.append(move)
    return moves


def _check_staged(store: Store, moves: Sequence[Move]) -> None:
    """Make sure that everything to be committed is in the store."""
    staged = {one.name for one in store.list(FOLDER)}
    if missing := [move.name for move in moves if f"{FOLDER}/{move.sha256}" not in staged]:
        todo = "check who else writes there, then run the same command again"
        raise StorageError(f"a published file is gone: {missing[0]}", where=store.shown, todo=todo)


def _apply(store: Store, commit: _Commit) -> None:
    """Copy everything into place; may safely be done twice."""
    *others, manifest = commit.moves
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        copies = [threads.submit(store.copy, f"{FOLDER}/{move.sha256}", move.name) for move in others]
        for copy in copies:
            copy.result()
    store.copy(f"{FOLDER}/{manifest.sha256}", manifest.name)


def _cleaned(store: Store, there: FarDataset, numbers: Sequence[int]) -> FarDataset:
    """Remove staged files, shards that are no longer used, and old commits."""
    named = {entry.path for entry in there.manifest.shards} if there.manifest else set()
    strays = [name for name in there.listed if is_shard_name(name) and name not in named]
    staged = [name for name in there.listed if name.startswith(f"{FOLDER}/")]
    old = [_commit_name(number) for number in numbers[:-_KEPT_COMMITS]]
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        list(threads.map(store.remove, [*(strays if there.manifest else []), *staged, *old]))
    gone = {*strays, *staged, *old}
    return FarDataset(
        manifest=there.manifest,
        listed={name: one for name, one in there.listed.items() if name not in gone},
        shards=there.shards,
    )


def _commits(there: FarDataset) -> list[int]:
    return sorted(int(match[1]) for name in there.listed if (match := _COMMIT.fullmatch(name)))


def _commit_name(number: int) -> str:
    return f"{STATE}/commit-{number:06d}.json"
