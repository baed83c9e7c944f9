"""The index of a dataset at a URL: downloaded whole and checked against the manifest; clips by range."""

from __future__ import annotations

import hashlib
import os
import weakref
from dataclasses import dataclass
from pathlib import Path

from corpus.schemas.dataset import CLIPS_FILE, MANIFEST_FILE, Manifest
from corpus.schemas.errors import DatasetError
from corpus.schemas.files import sha256_file
from corpus.schemas.scratch import Scratch, new_scratch
from corpus.schemas.store import Store, store_at
from corpus.shards.far import FarClips
from corpus.shards.index import no_dataset, parsed_manifest, read_columns
from corpus.shards.near import near_clips


@dataclass(frozen=True, slots=True)
class _FarIndex:
    """Everything needed to open the clips of a dataset at a URL."""

    shown: str
    """The URL without credentials."""
    index: Path
    """clips.parquet on this machine."""
    digest: str
    """sha256 of the manifest."""
    clips: FarClips


def open_far_index(url: str, split: str | None) -> _FarIndex:
    """The index of the dataset at a URL; raises like `open_clips`."""
    store = store_at(url)
    manifest, digest = far_manifest(store)
    folder = new_scratch("corpus-index-")
    try:
        index = fetch_promised(store, manifest, CLIPS_FILE, folder.path)
        table = read_columns(index, split, ("shard", "offset", "size", "sha256"))
        far = FarClips(store, table, near_clips())
    except BaseException:
        folder.remove()
        raise
    weakref.finalize(far, _remove, folder, os.getpid())  # copies of the clips share it
    return _FarIndex(store.shown, index, digest, far)


def far_manifest(store: Store) -> tuple[Manifest, str]:
    """The manifest at a URL and its sha256.

    Raises:
        DatasetError: there is no manifest.
        StorageError: the store cannot be read.
    """
    try:
        text = store.open_range(MANIFEST_FILE)
    except FileNotFoundError as error:
        raise no_dataset(store.shown) from error
    return parsed_manifest(text, store.shown), hashlib.sha256(text).hexdigest()


def fetch_promised(store: Store, manifest: Manifest, name: str, folder: Path) -> Path:
    """Download a file listed in the manifest into a local folder, and check its digest.

    Raises:
        DatasetError: the file is missing or does not match.
    """
    where = f"{store.shown}/{name}"
    promised = {one.path: one.sha256 for one in manifest.files}
    promised |= {one.path: one.sha256 for one in manifest.shards}
    try:
        path = store.fetch(name, folder)
    except FileNotFoundError as error:
        raise DatasetError("a file of the dataset is missing", where=where) from error
    if sha256_file(path) != promised.get(name):
        todo = "the dataset is being rewritten or damaged: try again, then `corpus verify`"
        raise DatasetError("does not match the manifest", where=where, todo=todo)
    return path


def _remove(folder: Scratch, pid: int) -> None:
    """Remove the folder, but only in the process that downloaded it, not in workers that got the clips."""
    if os.getpid() == pid:
        folder.remove()
