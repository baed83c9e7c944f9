"""`corpus build --out URL`: a build in a work folder on this machine, published to a store.

    lease -> finish what was killed -> fetch all but shards -> build, workers send shards -> stage -> commit

The build in the middle is the same as for folders, to the byte. A shard is sent by the process that writes it
(`shard_task.py`); this process sends the small files and the commit.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from corpus.pipeline.build import build_dataset
from corpus.pipeline.far_bring import KEPT, VIEWS, bring, look, save_synced
from corpus.pipeline.far_lease import is_leased, leased, put
from corpus.pipeline.far_publish import finish_commit, publish_far
from corpus.pipeline.progress import Messenger
from corpus.pipeline.relabel import Relabelled, Spread, relabel_dataset
from corpus.pipeline.request import Outcome, Request
from corpus.pipeline.state import STATE, Quarantine, State, Status
from corpus.schemas.codec import from_json
from corpus.schemas.dataset import CARD_FILE, CLIPS_FILE, MANIFEST_FILE
from corpus.schemas.errors import DatasetError, FormatError
from corpus.schemas.files import has_size
from corpus.schemas.settings import CueSettings
from corpus.schemas.store import FolderStore, Store, Stored, store_at
from corpus.schemas.urls import without_password
from corpus.shards.stand_in import stand_in
from corpus.shards.write import read_manifest

T = TypeVar("T")

WORK_VARIABLE = "CORPUS_WORK_DIR"
STATUS_NAME = f"{STATE}/status.json"
QUARANTINE_NAME = f"{STATE}/quarantine.json"


def work_folder(url: str) -> Path:
    """Where a dataset at a URL is built; without `--cache` it holds the cache. Shards are not kept there."""
    root = os.environ.get(WORK_VARIABLE)
    folder = Path(root) if root else Path.home() / ".cache" / "corpus" / "builds"
    return folder.absolute() / hashlib.sha256(without_password(url).rstrip("/").encode()).hexdigest()[:16]


def build_at(url: str, request: Request, talk: Messenger) -> Outcome:
    """Build the dataset at a URL; `request.out` is ignored. Raises like `build_dataset`."""
    store = store_at(url)
    if isinstance(store, FolderStore):
        return build_dataset(replace(request, out=store.root), talk)
    work = work_folder(url)
    request = replace(request, out=work)
    with leased(store, talk.say, lambda: _put_status(store, work)) as lease:
        there = finish_commit(store, look(store))
        outcome = build_dataset(request, talk, bring(store, work, there))
        if not (outcome.unchanged and _is_there(store, work, there.listed)):
            talk.say(f"{store.shown}: sending what is new")
            save_synced(work, publish_far(store, work, there, lease))
    _free(work)
    return outcome


def relabel_at(
    url: str, cues: CueSettings | None, talk: Messenger, spread: Spread | None = None
) -> Relabelled:
    """Make the labels of the dataset at a URL again; raises as `relabel_dataset`."""
    store = store_at(url)
    if isinstance(store, FolderStore):
        return relabel_dataset(store.root, cues, talk, spread)
    work = work_folder(url)
    with leased(store, talk.say, lambda: None) as lease:
        there = finish_commit(store, look(store))
        if there.manifest is None:
            raise DatasetError("no dataset to label", where=store.shown, todo="run corpus build first")
        relabelled = relabel_dataset(work, cues, talk, spread, (url, bring(store, work, there)))
        if not _is_there(store, work, there.listed):
            save_synced(work, publish_far(store, work, there, lease))
    _free(work)
    return relabelled


def far_status(store: Store) -> tuple[Status | None, bool]:
    """Progress of the build at a URL, at most one heartbeat old, and whether it is leased."""
    try:
        text = store.open_range(STATUS_NAME)
    except FileNotFoundError:
        return None, False
    return _parsed(Status, text, store, STATUS_NAME), is_leased(store)


def far_quarantine(store: Store) -> Quarantine:
    """Recordings quarantined by the last build at a URL.

    Raises:
        DatasetError: no build has finished there.
    """
    try:
        text = store.open_range(QUARANTINE_NAME)
    except FileNotFoundError as error:
        todo = "start one with `corpus build`"
        raise DatasetError("no build has finished here", where=store.shown, todo=todo) from error
    return _parsed(Quarantine, text, store, QUARANTINE_NAME)


def _parsed(cls: type[T], text: bytes, store: Store, name: str) -> T:
    try:
        return from_json(cls, text, where=f"{store.shown}/{name}")
    except FormatError as error:
        raise FormatError(error.what, where=error.where, todo="the next build writes it again") from error


def _is_there(store: Store, work: Path, listed: Mapping[str, Stored]) -> bool:
    """Whether the store holds the work folder's dataset: its manifest, and all else by size."""
    names = [name for name in (*KEPT, *VIEWS, CLIPS_FILE, CARD_FILE) if (work / name).is_file()]
    if any(name not in listed or not has_size(work / name, listed[name].bytes) for name in names):
        return False
    try:
        return store.open_range(MANIFEST_FILE) == (work / MANIFEST_FILE).read_bytes()
    except FileNotFoundError:
        return False


def _free(work: Path) -> None:
    """Free local space: shards that are in the store need none here."""
    manifest = read_manifest(work)
    for entry in manifest.shards if manifest else ():
        if has_size(work / entry.path, entry.bytes):
            stand_in(work / entry.path, entry.bytes)


def _put_status(store: Store, work: Path) -> None:
    status = State(work).status()
    if status is not None:
        put(store, STATUS_NAME, (work / STATUS_NAME).read_bytes())
