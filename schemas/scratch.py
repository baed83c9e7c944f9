"""Temporary folders that outlast no process for long: what a killed one has left is removed by the next."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from corpus.schemas.files import storage_errors

_HELD = ".held"
"""Locked by the folder's process for as long as it lives, whatever ends it."""


@dataclass(frozen=True, slots=True)
class Scratch:
    """An empty folder of this process and those that it forks."""

    path: Path
    _lock: int

    def remove(self) -> None:
        """Remove the folder with all in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        with suppress(OSError):
            os.close(self._lock)


def new_scratch(prefix: str, below: Path | None = None) -> Scratch:
    """A new folder, by default below the system's temporary one; abandoned ones of the prefix are removed.

    Raises:
        StorageError: it cannot be made.
    """
    root = Path(tempfile.gettempdir()) if below is None else below
    for folder in root.glob(f"{prefix}*"):
        _remove_if_abandoned(folder)
    with storage_errors(root):
        path = Path(tempfile.mkdtemp(prefix=prefix, dir=root))
        lock = os.open(path / ".new", os.O_CREAT | os.O_WRONLY, 0o600)
        with suppress(OSError):  # a file system without locks: after a kill, the folder stays
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.rename(path / ".new", path / _HELD)  # only now: nobody may find it without its lock
    return Scratch(path, lock)


@contextmanager
def scratch(prefix: str, below: Path | None = None) -> Iterator[Path]:
    """A folder as of `new_scratch`, removed at the end."""
    made = new_scratch(prefix, below)
    try:
        yield made.path
    finally:
        made.remove()


def _remove_if_abandoned(folder: Path) -> None:
    with suppress(OSError):  # another's folder, one without a lock yet, or a file system without locks
        lock = os.open(folder / _HELD, os.O_WRONLY | os.O_NOFOLLOW)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder)
        finally:
            os.close(lock)
