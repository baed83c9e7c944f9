"""Where files are stored: a folder on this machine, or anything fsspec can reach by URL.

Names inside a store are relative, with slashes. Files in a folder are read in place; those at a URL are read
in ranges or downloaded. Credentials come from fsspec's own configuration; no error or output shows them.
"""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar
from urllib.parse import unquote, urlsplit

from corpus.schemas.errors import MissingDependencyError, StorageError
from corpus.schemas.files import put_in_place, storage_errors, sync_file, temporary
from corpus.schemas.urls import is_url, public_url, told

T = TypeVar("T")

_PAUSES_S = (0.2, 1.0, 3.0)
"""Pauses before a failed request is sent again; after the last it is an error."""
_PATIENCE_S = 60.0
"""A request that waited longer in vain is not sent again: its library has done so, up to 25 times."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A file in a store: its size, and a mark that changes with its content."""

    name: str
    bytes: int
    mark: str


class Store(Protocol):
    """What inputs, caches and datasets need from a place to store files.

    Anything the place refuses is raised as StorageError, a missing file as FileNotFoundError.
    """

    shown: str
    """The place as it may be shown: without credentials."""

    def has(self, name: str) -> bool: ...

    def open_range(self, name: str, start: int = 0, stop: int | None = None) -> bytes:
        """Bytes `[start, stop)` of a file; to its end if `stop` is None."""

    def fetch(self, name: str, folder: Path) -> Path:
        """Copy the file into `folder`; the caller may move or remove the copy."""

    def publish(self, local: Path, name: str, *, new: bool = False) -> bool:
        """Store a local file, whole or not at all. With `new`, only if there is none yet: False otherwise."""

    def copy(self, source: str, target: str) -> None:
        """Copy a file within the store, without transferring bytes if the store can."""

    def remove(self, name: str) -> None:
        """Remove a file; do nothing if it is missing."""

    def list(self, below: str = "") -> list[Stored]:
        """All files below a folder in the store, by name."""


def store_at(place: Path | str) -> Store:
    """The store at a path or a URL."""
    text = str(place)
    if not isinstance(place, str) or not is_url(text):
        return FolderStore(Path(place))
    parts = urlsplit(text)
    if parts.scheme in ("file", "local"):
        host = "" if parts.netloc == "localhost" else parts.netloc
        return FolderStore(Path(unquote(host + parts.path)))
    return UrlStore(text)


class FolderStore:
    """A folder on this machine."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.shown = str(root)

    def has(self, name: str) -> bool:
        return (self.root / name).is_file()

    def open_range(self, name: str, start: int = 0, stop: int | None = None) -> bytes:
        with _missing_is_raised(self.root / name), open(self.root / name, "rb") as file:
            file.seek(start)
            return file.read() if stop is None else file.read(stop - start)

    def fetch(self, name: str, folder: Path) -> Path:
        path, copy = self.root / name, folder / name
        if not path.is_file():
            raise FileNotFoundError(str(path))
        with storage_errors(copy):
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
        return copy

    def publish(self, local: Path, name: str, *, new: bool = False) -> bool:
        path = self.root / name
        with storage_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            if not new:
                shutil.copyfile(local, temporary(path))
                sync_file(temporary(path))
                put_in_place(path)
                return True
            own = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
            shutil.copyfile(local, own)
            sync_file(own)
            try:
                os.link(own, path)  # unlike a rename, it takes nothing's place
            except FileExistsError:
                return False
            finally:
                own.unlink()
            return True

    def copy(self, source: str, target: str) -> None:
        self.publish(self.root / source, target)

    def remove(self, name: str) -> None:
        with storage_errors(self.root / name):
            (self.root / name).unlink(missing_ok=True)

    def list(self, below: str = "") -> list[Stored]:
        stored = []
        for here, _, names in os.walk(self.root / below):
            for name in names:
                path = Path(here) / name
                state = path.stat()
                relative = path.relative_to(self.root).as_posix()
                stored.append(Stored(name=relative, bytes=state.st_size, mark=str(state.st_mtime_ns)))
        return sorted(stored, key=lambda one: one.name)


@contextmanager
def _missing_is_raised(path: Path) -> Iterator[None]:
    with storage_errors(path):
        try:
            yield
        except FileNotFoundError as error:
            missing = error
        else:
            return
    raise missing


class UrlStore:
    """A folder at a URL. Can be passed to worker processes."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self.shown = public_url(self.url)
        self._files: tuple[Any, str] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_files": None}

    def has(self, name: str) -> bool:
        return bool(self._asked(name, lambda files, path: files.exists(path)))

    def open_range(self, name: str, start: int = 0, stop: int | None = None) -> bytes:
        def read(files: Any, path: str) -> bytes:
            content: bytes = files.cat_file(path, start=start or None, end=stop)
            if stop is not None and len(content) != stop - start:
                raise OSError(f"{len(content)} bytes came where {stop - start} were asked for")
            return content

        return self._asked(name, read)

    def look(self, name: str) -> Stored:
        """The file's size and mark, as they are now."""

        def looked(files: Any, path: str) -> Stored:
            files.invalidate_cache()
            found = files.info(path)
            return Stored(name=name, bytes=found["size"], mark=_mark(found))

        return self._asked(name, looked)

    def fetch(self, name: str, folder: Path) -> Path:
        target = folder / name
        with storage_errors(target):
            target.parent.mkdir(parents=True, exist_ok=True)
        own = target.with_name(f"{target.name}.{secrets.token_hex(8)}")
        try:
            self._asked(name, lambda files, path: files.get_file(path, str(own)))
            with storage_errors(target):
                own.replace(target)
        finally:
            own.unlink(missing_ok=True)
        return target

    def publish(self, local: Path, name: str, *, new: bool = False) -> bool:
        def put(files: Any, path: str) -> bool:
            try:
                files.put_file(str(local), path, **({"mode": "create"} if new else {}))
            except FileExistsError:
                return False
            return True

        with self._gone_is_told():
            return self._asked(name, put)

    def copy(self, source: str, target: str) -> None:
        root = self._opened()[1]
        with self._gone_is_told():
            self._asked(source, lambda files, path: files.cp_file(path, f"{root}/{target}"))

    @contextmanager
    def _gone_is_told(self) -> Iterator[None]:
        """Report a missing bucket: when writing fails with "not found", that is what is missing."""
        try:
            yield
        except FileNotFoundError as error:
            todo = "check that the bucket exists, then run the same command again"
            raise StorageError(
                "the bucket or the file does not exist", where=self.shown, todo=todo
            ) from error

    def remove(self, name: str) -> None:
        def gone(files: Any, path: str) -> None:
            try:
                files.rm_file(path)
            except FileNotFoundError:
                return

        self._asked(name, gone)

    def list(self, below: str = "") -> list[Stored]:
        def found(files: Any, path: str) -> list[Stored]:
            files.invalidate_cache()
            root = self._opened()[1]
            names = files.find(path, detail=True)
            stored = (
                Stored(name=full.removeprefix(f"{root}/"), bytes=one["size"] or 0, mark=_mark(one))
                for full, one in names.items()
                # Consoles mark a folder by an empty key that ends in a slash: no file of it.
                if full.startswith(f"{root}/") and not full.endswith("/")
            )
            return sorted(stored, key=lambda one: one.name)

        return self._asked(below, found)

    def _asked(self, name: str, ask: Callable[[Any, str], T]) -> T:
        """Send a request, and repeat it after temporary failures."""
        where = f"{self.shown}/{name}" if name else self.shown
        began_s = time.monotonic()
        for pause_s in (*_PAUSES_S, None):
            try:
                files, root = self._opened()
                return ask(files, f"{root}/{name}" if name else root)
            except (FileNotFoundError, MissingDependencyError):
                raise
            except Exception as error:  # each scheme's library has errors of its own
                lasting = isinstance(error, (PermissionError, ValueError, NotImplementedError)) or (
                    "timeout" in type(error).__name__.lower() and time.monotonic() - began_s > _PATIENCE_S
                )
                if pause_s is None or lasting:
                    raise _refused(error, where, self.url) from error
                time.sleep(pause_s)
        raise AssertionError

    def _opened(self) -> tuple[Any, str]:
        if self._files is None:
            try:
                import fsspec
            except ImportError as error:
                todo = "pip install fsspec"
                raise MissingDependencyError("URLs need fsspec", where=self.shown, todo=todo) from error
            try:
                files, root = fsspec.url_to_fs(self.url)
            except ImportError as error:
                scheme = self.url.partition("://")[0]
                todo = f"install what fsspec reads {scheme}:// with: {told(str(error), self.url)}"
                raise MissingDependencyError("a package is missing", where=self.shown, todo=todo) from error
            self._files = files, root.rstrip("/")
        return self._files


def _mark(one: dict[str, Any]) -> str:
    """The store's own fingerprint of a file's content."""
    stamps = ("ETag", "etag", "md5Hash", "mtime", "LastModified", "last_modified", "created")
    return next((str(one[name]).strip('"') for name in stamps if one.get(name)), "")


def _refused(error: Exception, where: str, url: str) -> StorageError:
    reason = told(str(error), url) or type(error).__name__
    todo = "check the address and the network, then run the same command again"
    if isinstance(error, PermissionError) or "Credential" in type(error).__name__:
        todo = (
            "credentials are missing, expired or not allowed this: renew them and run the same command again"
        )
    if "request time" in reason:  # the signature of a request names its time
        todo = "set this machine's clock, then run the same command again"
    if isinstance(error, NotImplementedError):
        todo = "this store cannot do that; use another one, or a folder"
    return StorageError(f"the store refused: {reason}", where=where, todo=todo)
