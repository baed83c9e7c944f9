"""Stage artifacts kept under the digest of all that decides them.

A folder appears under its final name only when it is whole: it is filled under a temporary name,
flushed to disk and renamed. So a build killed at any moment finds whole artifacts or none. Its head
names every file with its digest, and they are checked when it is read: what the disk has damaged since
is made again.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from corpus.schemas.codec import from_json, to_json
from corpus.schemas.drops import Drop
from corpus.schemas.errors import FormatError, StorageError
from corpus.schemas.files import sha256_file, storage_errors, sync_folder, sync_tree

HEAD = "artifact.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    path: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Head:
    """What an artifact holds, and the Drops of the run that made it, so that a cache hit repeats them."""

    files: tuple[_File, ...]
    drops: tuple[Drop, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """A whole artifact: its folder and what was left out while making it."""

    folder: Path
    digest: str
    drops: tuple[Drop, ...]


class Cache:
    """Artifacts below `root/<stage>/<digest>`; `scratch` names this build's own temporary folder."""

    def __init__(self, root: Path, scratch: str) -> None:
        self.root = root
        self.scratch = root / "scratch" / scratch
        self._checked: dict[Path, Artifact] = {}

    def create(self) -> None:
        """Make the folders, and say in one line why where they cannot be made."""
        try:
            self.scratch.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(
                f"cannot write the cache: {error.strerror}", where=str(self.root), todo="name another --cache"
            ) from error

    def folder(self, stage: str, digest: str) -> Path:
        return self.root / stage / digest[:2] / digest

    def has(self, stage: str, digest: str) -> bool:
        """Whether something stands there; only `get` says whether it is undamaged."""
        return (self.folder(stage, digest) / HEAD).is_file()

    def get(self, stage: str, digest: str, *names: str) -> Artifact | None:
        """The artifact under this digest, every byte of it checked once; None where it must be made again.

        With `names`, only those files are checked.
        """
        folder = self.folder(stage, digest)
        if names and folder not in self._checked:
            return read_artifact(folder, names)
        if folder not in self._checked:
            artifact = read_artifact(folder)
            if artifact is None:
                return None
            self._checked[folder] = artifact
            with suppress(OSError):  # a shared cache may be read-only
                os.utime(folder / HEAD)  # `corpus cache prune` asks when it was last used
        return self._checked[folder]

    def need(self, stage: str, digest: str, *names: str) -> Artifact:
        """An artifact that this build has made or checked before; with `names`, only those files are read."""
        folder = self.folder(stage, digest)
        artifact = self._checked.get(folder) or read_artifact(folder, names)
        if artifact is None:
            todo = "run the same command again: it is made anew"
            raise StorageError("an artifact was damaged while in use", where=str(folder), todo=todo)
        return artifact

    def make(self, stage: str, digest: str, fill: Callable[[Path], list[Drop]]) -> Artifact:
        """The artifact under this digest, made by `fill(empty folder)` unless it is there."""
        found = self.get(stage, digest)
        if found is not None:
            return found
        folder = self.folder(stage, digest)
        own = secrets.token_hex(8)  # no pid: two machines may have the same
        temporary = self.scratch / f"{stage}-{digest[:16]}-{own}"
        with storage_errors(temporary):
            temporary.mkdir(parents=True)
        try:
            drops = tuple(fill(temporary))
            with storage_errors(self.root):
                _write_head(temporary, drops)
                sync_tree(temporary)
                folder.parent.mkdir(parents=True, exist_ok=True)
                self._publish(temporary, folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        made = Artifact(folder=folder, digest=digest, drops=drops)
        self._checked[folder] = made
        return made

    def _publish(self, temporary: Path, folder: Path) -> None:
        """Rename into place; whoever came first with the same digest made the same bytes."""
        try:
            temporary.rename(folder)
        except OSError:
            if read_artifact(folder) is None:
                self._discard(folder)
                temporary.rename(folder)
        sync_folder(folder.parent)

    def _discard(self, folder: Path) -> None:
        """Take a damaged artifact away at once, so that nobody meets half of one."""
        grave = self.scratch / f"damaged-{folder.name[:16]}-{secrets.token_hex(8)}"
        if folder.exists():
            folder.rename(grave)
        shutil.rmtree(grave, ignore_errors=True)

    def clear_scratch(self) -> None:
        """Remove what killed workers of this build left behind."""
        shutil.rmtree(self.scratch, ignore_errors=True)


def _write_head(folder: Path, drops: tuple[Drop, ...]) -> None:
    """Two lines: the head, and its own digest."""
    names = sorted(path for path in folder.rglob("*") if path.is_file())
    files = tuple(_File(path=p.relative_to(folder).as_posix(), sha256=sha256_file(p)) for p in names)
    text = to_json(_Head(files=files, drops=drops))
    digest = hashlib.sha256(text.encode()).hexdigest()
    (folder / HEAD).write_text(f"{text}\n{digest}\n", encoding="utf-8")


def read_artifact(folder: Path, names: Sequence[str] = ()) -> Artifact | None:
    """The artifact in a folder if every byte, or every byte of these files, is as it was made, else None."""
    try:
        text, _, digest = (folder / HEAD).read_bytes().partition(b"\n")
        if digest != f"{hashlib.sha256(text).hexdigest()}\n".encode():
            return None
        head = from_json(_Head, text, where=str(folder / HEAD))
        read = [file for file in head.files if not names or file.path in names]
        if any(sha256_file(folder / file.path) != file.sha256 for file in read):
            return None
    except (OSError, FormatError):
        return None
    return Artifact(folder=folder, digest=folder.name, drops=head.drops)
