"""Process-wide state of a run: the lock on its folder, deterministic kernels, stop signals."""

from __future__ import annotations

import fcntl
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from corpus.schemas.errors import LockedError, StorageError

_LOCK = ".lock"


def expect_shared(run: Path) -> None:
    """Check on all ranks that they see the lock one of them holds. Raises: StorageError if one does not."""
    if not (run / _LOCK).exists():
        todo = "name a folder on a disk that all machines share"
        raise StorageError("is not the same folder for all ranks", where=str(run), todo=todo)


@contextmanager
def locked(run: Path) -> Iterator[None]:
    """Lock a run's folder, creating it if it is missing; it is removed again if nothing was written to it.

    Raises: LockedError when another process holds it, StorageError when it cannot be written.
    """
    new_folders = [folder for folder in (run, *run.parents) if not folder.exists()]
    try:
        run.mkdir(parents=True, exist_ok=True)
        handle = os.open(run / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise StorageError(f"cannot be written: {error.strerror}", where=str(run)) from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The previous holder may have removed the folder meanwhile, and another run created a new one.
            own = os.path.samestat(os.fstat(handle), os.stat(run / _LOCK))
        except OSError:
            own = False
        if not own:
            what, todo = "another process trains this run", "wait for it, or name another folder"
            raise LockedError(what, where=str(run), todo=todo)
        try:
            yield
        finally:
            _leave_no_trace(run, new_folders)
    finally:
        os.close(handle)


def _leave_no_trace(run: Path, made: Sequence[Path]) -> None:
    with suppress(OSError):  # a folder that cannot be removed does no harm
        if os.listdir(run) != [_LOCK]:
            return
        (run / _LOCK).unlink()
        for folder in made:
            folder.rmdir()


@contextmanager
def determinism(wanted: bool, device: torch.device) -> Iterator[None]:
    """Use deterministic kernels, if they are wanted; on a GPU, operations that have none warn."""
    memory: Any = torch.utils.deterministic  # a module that makes its attributes itself
    before = torch.are_deterministic_algorithms_enabled()
    warns = torch.is_deterministic_algorithms_warn_only_enabled()
    filled = memory.fill_uninitialized_memory
    if wanted:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=device.type == "cuda")
        memory.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warns)
        memory.fill_uninitialized_memory = filled


@contextmanager
def stop_signals() -> Iterator[Callable[[], bool]]:
    """SIGTERM and Ctrl-C ask to stop after the current step; a second Ctrl-C does not wait."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return

    def ask(number: int, frame: FrameType | None) -> None:
        if asked.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        asked.set()

    kinds = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(kind, ask) for kind in kinds]
    try:
        yield asked.is_set
    finally:
        for kind, handler in zip(kinds, before, strict=True):
            signal.signal(kind, handler)
