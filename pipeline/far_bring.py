"""Fetching what a build needs of the dataset at a URL into its work folder: everything but the shards."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from corpus.pipeline.far_shards import forget_shards, place_stand_ins
from corpus.pipeline.memory import TABLE_FILE
from corpus.pipeline.published import CATALOGS_FILE
from corpus.pipeline.state import QUARANTINE_FILES, STATE
from corpus.report.catalog import CATALOG_FILE
from corpus.schemas.codec import from_json, to_json
from corpus.schemas.dataset import CARD_FILE, CLIPS_FILE, MANIFEST_FILE, Manifest, ShardEntry
from corpus.schemas.errors import FormatError
from corpus.schemas.files import storage_errors, write_whole
from corpus.schemas.reviews_file import REVIEWS_FILE
from corpus.schemas.scratch import scratch
from corpus.schemas.store import Store, Stored
from corpus.shards.far_index import far_manifest, fetch_promised
from corpus.shards.shard_task import Afar
from corpus.shards.swap import FOLDER, finish_swap
from corpus.shards.write import read_manifest

REPORT_FILE = "report.html"
KEPT = (f"{STATE}/{TABLE_FILE}", f"{STATE}/{CATALOGS_FILE}", f"{STATE}/{QUARANTINE_FILES[0]}")
"""What the next build, wherever it runs, needs to know about this one. The invocation is not included: inputs
may contain credentials."""
VIEWS = (CATALOG_FILE, REPORT_FILE)
_SYNCED_FILE = "far.json"
_INCOMING = "incoming-"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Synced:
    """The store's marks of the files with which the work folder was last in sync."""

    manifest: str = ""
    reviews: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FarDataset:
    """The dataset in the store."""

    manifest: Manifest | None
    listed: Mapping[str, Stored]
    shards: Mapping[str, str]
    """Paths of whole shards, by sha256."""


def look(store: Store) -> FarDataset:
    """What the store holds.

    Raises:
        StorageError: the store cannot be read.
        NewerSchemaError: a newer version wrote the dataset.
    """
    listed = {one.name: one for one in store.list()}
    manifest = far_manifest(store)[0] if MANIFEST_FILE in listed else None
    shards = {
        entry.sha256: entry.path
        for entry in (manifest.shards if manifest else ())
        if entry.path in listed and listed[entry.path].bytes == entry.bytes
    }
    return FarDataset(manifest=manifest, listed=listed, shards=shards)


def bring(store: Store, work: Path, there: FarDataset) -> Afar:
    """Synchronise the work folder with the store; files that a killed build left here unsent are kept.

    Raises:
        DatasetError: the files in the store do not match its manifest.
    """
    (work / STATE).mkdir(parents=True, exist_ok=True)
    with storage_errors(work):
        finish_swap(work)
    synced = _read_synced(work)
    mark = _mark(there, MANIFEST_FILE)
    if there.manifest is not None and mark != synced.manifest:
        _replace(store, work, there)
    if (reviews := _mark(there, REVIEWS_FILE)) and reviews != synced.reviews:
        _fetch(store, work, REVIEWS_FILE)
    here = read_manifest(work)
    entries = here.shards if here is not None else ()
    far = {**_staged(there, entries), **there.shards}
    if here is not None:
        place_stand_ins(work, here, far)
    save_synced(work, there)
    names = {entry.path: far[entry.sha256] for entry in entries if entry.sha256 in far}
    return Afar(store=store, names=names)


def _staged(there: FarDataset, entries: Iterable[ShardEntry]) -> dict[str, str]:
    """Names of shards that a killed build sent but did not publish, by sha256."""
    names = {entry.sha256: f"{FOLDER}/{entry.sha256}" for entry in entries}
    sizes = {entry.sha256: entry.bytes for entry in entries}
    return {
        sha256: name
        for sha256, name in names.items()
        if name in there.listed and there.listed[name].bytes == sizes[sha256]
    }


def _read_synced(work: Path) -> _Synced:
    path = work / STATE / _SYNCED_FILE
    try:
        return from_json(_Synced, path.read_bytes(), where=str(path))
    except (OSError, FormatError):
        return _Synced()


def save_synced(work: Path, there: FarDataset) -> None:
    path = work / STATE / _SYNCED_FILE
    synced = _Synced(manifest=_mark(there, MANIFEST_FILE), reviews=_mark(there, REVIEWS_FILE))
    with storage_errors(path):
        write_whole(path, to_json(synced).encode())


def _mark(there: FarDataset, name: str) -> str:
    return there.listed[name].mark if name in there.listed else ""


def _replace(store: Store, work: Path, there: FarDataset) -> None:
    """Take over what another machine has published, the manifest last."""
    if there.manifest is None:
        raise AssertionError
    with storage_errors(work):
        # What a killed build here had quarantined may have been built by the other machine.
        own = [f"{STATE}/{name}" for name in (*QUARANTINE_FILES, "finished.json")]
        for name in (MANIFEST_FILE, *VIEWS, *KEPT, *own):
            (work / name).unlink(missing_ok=True)
    forget_shards(work)
    with scratch(_INCOMING, work / STATE) as folder:
        for name in (CARD_FILE, CLIPS_FILE):
            path = fetch_promised(store, there.manifest, name, folder)
            with storage_errors(path):
                path.replace(work / name)
    for name in (*VIEWS, *KEPT, MANIFEST_FILE):
        with suppress(FileNotFoundError):  # each can be made again
            _fetch(store, work, name)


def _fetch(store: Store, work: Path, name: str) -> None:
    with scratch(_INCOMING, work / STATE) as folder:
        path = store.fetch(name, folder)
        with storage_errors(path):
            path.replace(work / name)
