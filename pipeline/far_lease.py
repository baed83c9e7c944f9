"""One build at a time at a URL: a lease is put only if there is none, and put again as a heartbeat.

No clocks are compared, since those of two machines may differ: a process that finds a lease watches it, and
takes it over if it does not change for a while.
"""

from __future__ import annotations

import secrets
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from corpus.schemas.errors import CorpusError, LockedError, StorageError
from corpus.schemas.files import storage_errors
from corpus.schemas.store import Store

LEASE = ".cache/lease"
HEARTBEAT_S = 10.0
STALE_S = 45.0
_LOOK_S = 2.0
_VANISHED = 20
"""So often a lease may be there and gone at the next look."""


class Lease:
    """Held until `released`; somebody else may have taken it over while this machine slept."""

    def __init__(self, store: Store, own: str) -> None:
        self._store = store
        self._own = own
        self._beats = 0
        self.lost = False

    def check(self) -> None:
        """Make sure that the lease is still held.

        Raises:
            LockedError: another build has taken it over.
        """
        self.lost = self.lost or not self._is_own()
        if self.lost:
            todo = "run the same command again when the other build has finished"
            raise LockedError("another build has taken this dataset over", where=self._store.shown, todo=todo)

    def beat(self) -> None:
        self._beats += 1
        with suppress(StorageError, LockedError):  # `check` reports it before anything is written
            self.check()
            put(self._store, LEASE, f"{self._own} {self._beats}".encode())

    def release(self) -> None:
        with suppress(StorageError):
            if not self.lost and self._is_own():
                self._store.remove(LEASE)

    def _is_own(self) -> bool:
        return (_read(self._store) or b"").startswith(self._own.encode())


@contextmanager
def leased(store: Store, say: Callable[[str], None], on_beat: Callable[[], None]) -> Iterator[Lease]:
    """Hold the dataset at a URL; `on_beat` is called from a thread with every heartbeat, and at the end.

    Raises:
        LockedError: another build holds it.
        StorageError: it cannot be written, or the store cannot guarantee that only one build holds it.
    """
    own = f"{socket.gethostname()}-{secrets.token_hex(8)}"
    _take(store, own, say)
    lease = Lease(store, own)
    ended = threading.Event()

    def tell() -> None:
        with suppress(CorpusError):  # whatever is wrong there must not end the heartbeat
            if not lease.lost:
                on_beat()

    def beat() -> None:
        while not ended.wait(HEARTBEAT_S):
            lease.beat()
            tell()

    # A daemon, so that a crash of the build also stops the heartbeat.
    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield lease
    finally:
        ended.set()
        thread.join()
        tell()
        lease.release()


def is_leased(store: Store) -> bool:
    """Whether there is a lease; only watching it would show whether its holder is alive."""
    return store.has(LEASE)


def put(store: Store, name: str, content: bytes) -> None:
    """Put a small file."""
    with _written(content) as path:
        store.publish(path, name)


def put_new(store: Store, name: str, content: bytes) -> bool:
    """Put a small file if there is none; true if it now has this content.

    A put whose answer was lost is sent again and then finds its own file.
    """
    with _written(content) as path:
        if store.publish(path, name, new=True):
            return True
    with suppress(FileNotFoundError):
        return store.open_range(name) == content
    return False


@contextmanager
def _written(content: bytes) -> Iterator[Path]:
    """A file on this machine with this content."""
    with storage_errors(Path(tempfile.gettempdir())), tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        yield Path(file.name)


def _read(store: Store) -> bytes | None:
    """The lease; None if there is none."""
    try:
        return store.open_range(LEASE)
    except FileNotFoundError:
        return None


def _take(store: Store, own: str, say: Callable[[str], None]) -> None:
    vanished = 0
    while not put_new(store, LEASE, f"{own} 0".encode()):
        seen = _read(store)
        if seen is None:  # its holder ended between the two looks
            vanished += 1
            if vanished > _VANISHED:
                todo = f"check the rights to {LEASE} there, then run the same command again"
                raise StorageError("the store has no lease and takes none", where=store.shown, todo=todo)
            continue
        holder = seen.decode(errors="replace").rpartition("-")[0]
        say(f"{store.shown}: a build on {holder!r} holds this dataset; looking whether it is alive")
        _wait_until_stale(store, seen)
        store.remove(LEASE)
    # A store that takes no notice of the condition lets two builds write over each other.
    if put_new(store, LEASE, b"a second one"):
        store.remove(LEASE)
        todo = "build into a folder and copy it there"
        raise StorageError("the store has no conditional put", where=store.shown, todo=todo)
    # Or what workers have sent would count as missing, at every try.
    if not _is_listed(store):
        store.remove(LEASE)
        todo = "build into a folder and copy it there; check that the address has no `//` after the bucket"
        raise StorageError("the store does not list a file just put", where=store.shown, todo=todo)


def _is_listed(store: Store) -> bool:
    for pause_s in (0.0, _LOOK_S, 2 * _LOOK_S):
        time.sleep(min(pause_s, STALE_S / 4))
        if any(one.name == LEASE for one in store.list(LEASE.rpartition("/")[0])):
            return True
    return False


def _wait_until_stale(store: Store, seen: bytes) -> None:
    """Watch a lease until it is released or has not changed for long.

    Raises:
        LockedError: the lease is being renewed.
    """
    until = time.monotonic() + STALE_S
    while time.monotonic() < until:
        time.sleep(min(_LOOK_S, STALE_S / 4))
        now = _read(store)
        if now is None:
            return
        if now != seen:
            todo = "wait for it (`corpus status` shows how far it is) or choose another --out"
            raise LockedError("another build is writing this dataset", where=store.shown, todo=todo)
