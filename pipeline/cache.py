"""Stage artifacts kept under the digest of all that decides them.

A folder appears under its final name only when it is whole: it is filled under a temporary name,
flushed to disk and renamed. So a build killed at any moment finds whole artifacts or none.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from corpus.schemas.codec import from_json, to_json
from corpus.schemas.drops import Drop
from corpus.schemas.errors import StorageError
from corpus.schemas.files import sync_folder, sync_tree

DROPS = "drops.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class DropList:
    """The Drops of one stage's run, kept with its artifact so that a cache hit repeats them."""

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
        return (self.folder(stage, digest) / DROPS).is_file()

    def get(self, stage: str, digest: str) -> Artifact:
        """The artifact under this digest; `has` must be true."""
        folder = self.folder(stage, digest)
        kept = from_json(DropList, (folder / DROPS).read_bytes(), where=str(folder / DROPS))
        return Artifact(folder=folder, digest=digest, drops=kept.drops)

    def make(self, stage: str, digest: str, fill: Callable[[Path], list[Drop]]) -> Artifact:
        """The artifact under this digest, made by `fill(empty folder)` unless it is there."""
        if self.has(stage, digest):
            return self.get(stage, digest)
        folder = self.folder(stage, digest)
        temporary = self.scratch / f"{stage}-{digest[:16]}-{os.getpid()}"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        try:
            drops = fill(temporary)
            text = to_json(DropList(drops=tuple(drops)))
            (temporary / DROPS).write_text(text, encoding="utf-8")
            sync_tree(temporary)
            folder.parent.mkdir(parents=True, exist_ok=True)
            self._publish(temporary, folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return Artifact(folder=folder, digest=digest, drops=tuple(drops))

    def _publish(self, temporary: Path, folder: Path) -> None:
        """Rename into place; whoever came first with the same digest made the same bytes."""
        try:
            temporary.rename(folder)
        except OSError:
            if not (folder / DROPS).is_file():
                raise
        sync_folder(folder.parent)

    def clear_scratch(self) -> None:
        """Remove what killed workers of this build left behind."""
        shutil.rmtree(self.scratch, ignore_errors=True)
