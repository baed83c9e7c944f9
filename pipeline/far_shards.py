"""Shards that stand at a URL and not in the work folder: there an empty file of their size takes their place.

Such a stand-in has its name, size and time and no bytes, so that a build sees what stands and reads nothing.
Where one must be read after all, its shard is fetched first and held to its digest.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from corpus.schemas.dataset import SPLITS, Manifest
from corpus.schemas.errors import DatasetError
from corpus.schemas.files import has_size, sha256_file, storage_errors
from corpus.schemas.store import Store


def is_stand_in(path: Path) -> bool:
    """Whether no block of the disk belongs to the file."""
    try:
        state = path.stat()
    except OSError:
        return False
    return state.st_size > 0 and state.st_blocks == 0


def stand_in(path: Path, size: int) -> None:
    """Put an empty file of this size in the place of a shard, with its time where it was there."""
    with storage_errors(path):
        before = path.stat() if path.exists() else None
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_name(path.name + ".stand-in")
        with open(new, "wb") as file:
            file.truncate(size)
        if before is not None:
            os.utime(new, ns=(before.st_atime_ns, before.st_mtime_ns))
        new.replace(path)


def place_stand_ins(work: Path, manifest: Manifest, far: Mapping[str, str]) -> None:
    """Make the work folder look as if it held the shards of its manifest that stand in the store.

    `far` holds the paths there by sha256. One that neither has is made again by the build.
    """
    for entry in manifest.shards:
        path = work / entry.path
        if entry.sha256 in far and not has_size(path, entry.bytes):
            stand_in(path, entry.bytes)
        elif entry.sha256 not in far and is_stand_in(path):
            path.unlink()


def forget_shards(work: Path) -> None:
    """Remove every shard of the work folder."""
    with storage_errors(work):
        for path in [path for split in SPLITS for path in (work / split).glob("*.tar")]:
            path.unlink()


class FarShards:
    """Brings a shard that is to be read into the work folder."""

    def __init__(self, store: Store, work: Path, manifest: Manifest | None, far: Mapping[str, str]) -> None:
        self._store = store
        self._work = work
        self._sha256s = {entry.path: entry.sha256 for entry in manifest.shards} if manifest else {}
        self._far = far

    def bring(self, path: Path) -> None:
        """Fetch the shard if a stand-in has its place.

        Raises:
            DatasetError: it is gone or damaged in the store.
        """
        if not path.is_relative_to(self._work) or not is_stand_in(path):
            return
        sha256 = self._sha256s[path.relative_to(self._work).as_posix()]
        name = self._far[sha256]
        where = f"{self._store.shown}/{name}"
        with tempfile.TemporaryDirectory(dir=self._work / ".cache") as folder:
            try:
                fetched = self._store.fetch(name, Path(folder))
            except FileNotFoundError as error:
                todo = "run the same command again: its clips are built again"
                raise DatasetError("a file of the dataset is missing", where=where, todo=todo) from error
            if sha256_file(fetched) != sha256:
                path.unlink()  # the next build makes its clips again
                todo = "run the same command again: its clips are built again"
                raise DatasetError("holds other bytes than the manifest promises", where=where, todo=todo)
            with storage_errors(path):
                state = path.stat()
                os.utime(fetched, ns=(state.st_atime_ns, state.st_mtime_ns))
                fetched.replace(path)
