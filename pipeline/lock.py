"""One build at a time in an output folder: by `flock`, or by a lease if the file system has no locks.

A lease is a file that its holder touches every few seconds. If it has not been touched for a while, it is
taken over: its holder was killed, or its machine is gone.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from corpus.schemas.errors import LockedError, StorageError

LOCK_FILE = "lock"
LEASE_FILE = "lease"
HEARTBEAT_SECONDS = 5.0
STALE_SECONDS = 60.0

_NO_FLOCK = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL)
"""Error numbers of file systems without locks."""


@contextmanager
def locked(folder: Path, out: Path, say: Callable[[str], None] = lambda line: None) -> Iterator[None]:
    """Hold the output folder's lock; the system releases it however the process ends.

    Raises:
        LockedError: another build holds it.
        StorageError: it cannot be written.
    """
    try:
        file = open(folder / LOCK_FILE, "a")  # noqa: SIM115 - closed below; only opening is caught here
    except OSError as error:
        raise StorageError(
            f"cannot write here: {error.strerror}", where=str(out), todo="choose another --out"
        ) from error
    with file:
        try:
            # Held by the open file, so that the system releases it even after kill -9.
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in _NO_FLOCK:
                raise _held(out) from error
            say(f"{out}: the file system has no locks; a lease file is used instead")
            with _leased(folder / LEASE_FILE, out):
                yield
            return
        yield


def is_locked(folder: Path) -> bool:
    try:
        with open(folder / LOCK_FILE) as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError as error:
        return error.errno in _NO_FLOCK and _age_seconds(folder / LEASE_FILE) < STALE_SECONDS
    return False


def _held(out: Path) -> LockedError:
    todo = "wait for it (`corpus status` shows how far it is) or choose another --out"
    return LockedError("another build is writing this folder", where=str(out), todo=todo)


@contextmanager
def _leased(path: Path, out: Path) -> Iterator[None]:
    own = secrets.token_hex(16)  # no pid: two containers may have the same
    _take(path, own, out)
    ended = threading.Event()
    # A daemon, so that a crash of the build also stops the heartbeat.
    beat = threading.Thread(target=_touch_until, args=(path, own, ended), daemon=True)
    beat.start()
    try:
        yield
    finally:
        ended.set()
        beat.join()
        with suppress(OSError):
            if path.read_text() == own:
                path.unlink()


def _take(path: Path, own: str, out: Path) -> None:
    if _age_seconds(path) >= STALE_SECONDS:
        path.unlink(missing_ok=True)
    try:
        # O_EXCL is atomic on NFS too: of two builds one gets the file.
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    except FileExistsError as error:
        raise _held(out) from error
    with os.fdopen(handle, "w") as file:
        file.write(own)
        file.flush()
        os.fsync(file.fileno())
    if path.read_text() != own:  # two took over the same stale lease; the later one has it
        raise _held(out)


def _touch_until(path: Path, own: str, ended: threading.Event) -> None:
    while not ended.wait(HEARTBEAT_SECONDS):
        with suppress(OSError):
            if path.read_text() == own:
                os.utime(path)


def _age_seconds(path: Path) -> float:
    """Seconds since the lease was last touched; infinite if there is none."""
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return float("inf")
