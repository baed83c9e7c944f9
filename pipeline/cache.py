"""Stage artifacts, stored under the digest of everything that determines them.

A folder appears under its final name only when it is complete: it is filled under a temporary name, synced
and renamed. So a build killed at any moment leaves complete artifacts or none. The head lists every file with
its digest, which is checked on reading: a damaged artifact is remade.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from corpus.pipeline.artifact import HEAD, Artifact, Kept, Value, read_artifact, write_head
from corpus.pipeline.far_cache import FarCache
from corpus.schemas.drops import Drop
from corpus.schemas.errors import StorageError
from corpus.schemas.files import storage_errors, sync_folder, sync_tree
from corpus.schemas.store import store_at


def folder_in(root: Path, stage: str, digest: str) -> Path:
    """Where a cache keeps an artifact."""
    return root / stage / digest[:2] / digest


class Cache:
    """Artifacts below `root/<stage>/<digest>`; `scratch` names this build's own temporary folder."""

    def __init__(self, root: Path, scratch: str, far_url: str | None = None) -> None:
        """With `far_url`, artifacts that are expensive to make are also looked for and stored there."""
        self.root = root
        self._far = FarCache(store_at(far_url)) if far_url else None
        self.scratch = root / "scratch" / scratch
        self._checked: dict[Path, Artifact] = {}

    def create(self) -> None:
        """Create the folders; the error says in one line why that failed."""
        try:
            self.scratch.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(
                f"cannot write the cache: {error.strerror}", where=str(self.root), todo="name another --cache"
            ) from error

    def folder(self, stage: str, digest: str) -> Path:
        return folder_in(self.root, stage, digest)

    def has(self, stage: str, digest: str) -> bool:
        """Whether an artifact is there; only `get` checks that it is undamaged."""
        return (self.folder(stage, digest) / HEAD).is_file()

    def get(self, stage: str, digest: str, *names: str) -> Artifact | None:
        """The artifact under this digest, with every byte checked once; None if it must be remade.

        With `names`, only those files are checked.
        """
        folder = self.folder(stage, digest)
        # Not remembered as checked: other files of it were not read.
        if names and folder not in self._checked:
            return read_artifact(folder, names)
        if folder not in self._checked:
            artifact = read_artifact(folder) or self._fetched(stage, digest)
            if artifact is None:
                return None
            self._checked[folder] = artifact
            with suppress(OSError):  # a shared cache may be read-only
                os.utime(folder / HEAD)  # last use, for `corpus cache prune`
        return self._checked[folder]

    def need(self, stage: str, digest: str, *names: str) -> Artifact:
        """An artifact that this build has made or checked before; with `names`, only those files are read."""
        folder = self.folder(stage, digest)
        artifact = self._checked.get(folder) or read_artifact(folder, names)
        if artifact is None:
            todo = "run the same command again; it will be remade"
            raise StorageError("an artifact was damaged while in use", where=str(folder), todo=todo)
        return artifact

    def make(self, stage: str, digest: str, fill: Callable[[Path], list[Drop]]) -> Artifact:
        """The artifact under this digest, made by `fill(empty folder)` unless it exists."""
        existing = self.get(stage, digest)
        if existing is not None:
            return existing
        folder = self.folder(stage, digest)
        own = secrets.token_hex(8)  # no pid: two machines may have the same
        temporary = self.scratch / f"{stage}-{digest[:16]}-{own}"
        with storage_errors(temporary):
            temporary.mkdir(parents=True)
        try:
            # Errors of `fill` are the recording's; only those of the lines below are the disk's.
            drops = tuple(fill(temporary))
            with storage_errors(self.root):
                write_head(temporary, drops)
                sync_tree(temporary)
                folder.parent.mkdir(parents=True, exist_ok=True)
                self._publish(temporary, folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        artifact = Artifact(folder=folder, digest=digest, drops=drops)
        self._checked[folder] = artifact
        if self._far is not None:
            self._far.put(stage, artifact)
        return artifact

    def keep(
        self,
        stage: str,
        digest: str,
        fill: Callable[[Path], tuple[Value, Sequence[Drop]]],
        read: Callable[[Path], Value],
    ) -> Kept[Value]:
        """The result of `fill(empty folder)`, which writes it too; `read(folder)` restores it later."""
        filled: list[Value] = []

        def fill_folder(folder: Path) -> list[Drop]:
            value, drops = fill(folder)
            filled.append(value)
            return list(drops)

        artifact = self.make(stage, digest, fill_folder)
        return Kept(value=filled[0] if filled else read(artifact.folder), artifact=artifact)

    def _fetched(self, stage: str, digest: str) -> Artifact | None:
        """The remote artifact, copied into the local cache."""
        temporary = self._far.fetch(stage, digest, self.scratch) if self._far is not None else None
        if temporary is None:
            return None
        folder = self.folder(stage, digest)
        try:
            with storage_errors(self.root):
                sync_tree(temporary)
                folder.parent.mkdir(parents=True, exist_ok=True)
                self._publish(temporary, folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return read_artifact(folder)

    def _publish(self, temporary: Path, folder: Path) -> None:
        """Rename into place; if another worker was first with this digest, it made the same bytes."""
        try:
            temporary.rename(folder)
        except OSError:
            if read_artifact(folder) is None:
                self._discard(folder)
                temporary.rename(folder)
        sync_folder(folder.parent)

    def _discard(self, folder: Path) -> None:
        """Remove a damaged artifact at once, so that nobody sees half of one."""
        grave = self.scratch / f"damaged-{folder.name[:16]}-{secrets.token_hex(8)}"
        if folder.exists():
            folder.rename(grave)
        shutil.rmtree(grave, ignore_errors=True)

    def clear_scratch(self) -> None:
        """Remove the leftovers of this build's killed workers."""
        shutil.rmtree(self.scratch, ignore_errors=True)
