"""Writes checkpoints in the background; an unfinished one is never visible.

A checkpoint is written under a hidden name, synced and renamed; then LATEST is written. Tensors are copied
first, so that training can continue meanwhile. A failed save leaves the previous checkpoint untouched.
"""

from __future__ import annotations

import shutil
import threading
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from torch.distributed.checkpoint.staging import BlockingAsyncStager
from torch.distributed.checkpoint.state_dict_saver import async_save

from corpus.schemas.codec import from_json, to_json, to_plain
from corpus.schemas.errors import StorageError
from corpus.schemas.files import sync_folder, write_whole
from corpus.trainer.parallel.collectives import Group, on_any
from corpus.trainer.train.checkpoint import (
    FAILURES,
    FOLDER,
    LATEST,
    META,
    Meta,
    Talk,
    Tensors,
    expect_one_process,
    finished,
    mark_of,
    name_of,
    reason_of,
)
from corpus.trainer.train.checkpoint_index import IndexWriter


class Saver:
    """Saves one checkpoint at a time, in the background. All ranks make the same calls at the same steps."""

    def __init__(self, run: Path, keep: int, *, first: bool, group: Group, talk: Talk) -> None:
        self.folder = run / FOLDER
        self._keep, self._first, self._group, self._talk = keep, first, group, talk
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self._staging: BlockingAsyncStager | None = None
        self.failures = 0
        """Number of failed saves in a row."""
        if first:
            _begin(self.folder)

    def save(self, tensors: Tensors, meta: Meta) -> None:
        """Copy the tensors and return; a thread writes them. Waits for the previous save first."""
        self.wait()
        temporary = self.folder / f".{name_of(meta.step)}.tmp"
        expect_one_process()
        try:
            # Synced by _publish, which reads the files again for their digests.
            writer = IndexWriter(temporary, sync_files=False)
            # Without a group torch would look for one, so tell it that this is a single process.
            alone = self._group is None
            future = async_save(
                tensors,
                storage_writer=writer,
                process_group=self._group,
                async_stager=self._stager(tensors),
                no_dist=alone,
            )
        except FAILURES as error:
            self._error = error
            return
        assert isinstance(future, Future)
        work = (future, temporary, meta)
        self._thread = threading.Thread(target=self._finish, args=work, name="checkpoint")
        self._thread.start()

    def _stager(self, tensors: Tensors) -> BlockingAsyncStager | None:
        """Copies a GPU's tensors to pinned memory that is allocated only once: fresh pages would take as long
        as several steps at every save."""
        if self._staging is None and _on_gpu(tensors):
            self._staging = BlockingAsyncStager(cache_staged_state_dict=True)
        return self._staging

    def wait(self) -> bool:
        """Wait until nothing is being written. False if the last save failed, on any rank."""
        if self._thread is None and self._error is None:
            return True
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        # All ranks must agree, or one would give up while the others go on saving.
        failed = on_any(self._group, self._error is not None)
        self.failures = self.failures + 1 if failed else 0
        if failed and self._first:
            # Torch reports a full disk as a RuntimeError about positions in a file.
            why = f"{reason_of(self._error)}; {shutil.disk_usage(self.folder).free / 1e9:.3f} GB free there"
            self._talk(f"the checkpoint could not be saved ({why}); the one before is kept, the run goes on")
            for left in self.folder.glob(".step-*.tmp"):
                shutil.rmtree(left, ignore_errors=True)
        self._error = None
        return not failed

    def _finish(self, future: Future[Any], temporary: Path, meta: Meta) -> None:
        try:
            future.result()
            if self._first:
                _publish(temporary, meta, self._keep)
        except FAILURES as error:
            self._error = error


def _on_gpu(tensors: Tensors) -> bool:
    return any(tensor.is_cuda for tensor in tensors["model"].values())


def _begin(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob(".step-*.tmp"):
            shutil.rmtree(left)
    except OSError as error:
        raise StorageError(f"cannot be written: {error.strerror}", where=str(folder)) from error


def _publish(temporary: Path, meta: Meta, keep: int) -> None:
    # Every rank has finished writing. Digests are of the bytes on the disk, not of the intended ones.
    marks = tuple(mark_of(file) for file in sorted(temporary.iterdir()))
    full = from_json(Meta, to_json({**to_plain(meta), "files": to_plain(marks)}))
    # meta.json is written before the rename, so a folder with the final name is complete.
    write_whole(temporary / META, to_json(full, indent=1).encode())
    final = temporary.with_name(name_of(meta.step))
    # Rename cannot replace a folder that is not empty.
    if final.exists():  # left by a run that ended before LATEST named it
        shutil.rmtree(final)
    temporary.rename(final)
    sync_folder(final.parent)
    write_whole(final.parent / LATEST, f"{final.name}\n".encode())
    # A checkpoint with a higher number is damaged, or the run would have resumed from it: do not count it.
    upto = [path for path in finished(final.parent) if path.name <= final.name]
    for old in upto[keep:]:
        shutil.rmtree(old)
