"""Artifacts at a URL, for builds on other machines: those that are expensive to make and small to store.

Decoded sound, voices and clips are not included: each is about as large as the dataset and is remade in a
hundredth of the time that models take. The head is put last, if there is none yet; a second build would have
made the same artifact.
"""

from __future__ import annotations

import secrets
import shutil
from pathlib import Path

from corpus.pipeline.artifact import HEAD, Artifact, head_of, read_artifact
from corpus.schemas.errors import FormatError
from corpus.schemas.files import is_inside_name, storage_errors
from corpus.schemas.store import Store

DEAR_STAGES = frozenset(("sight", "diarize", "transcribe", "quality"))


class FarCache:
    """Artifacts below `store/<stage>/<digest>`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def fetch(self, stage: str, digest: str, scratch: Path) -> Path | None:
        """A new folder below `scratch` with the artifact, every byte checked; None if it must be made.

        Raises:
            StorageError: the store cannot be read.
        """
        if stage not in DEAR_STAGES:
            return None
        base = _base(stage, digest)
        folder = scratch / f"{stage}-{digest[:16]}-{secrets.token_hex(8)}"
        try:
            text = self._store.open_range(f"{base}/{HEAD}")
            names = [file.path for file in head_of(text).files]
            if not all(map(is_inside_name, names)):
                raise FormatError("names files outside the artifact", where=f"{self._store.shown}/{base}")
            with storage_errors(folder):
                folder.mkdir(parents=True)
            for name in (*names, HEAD):
                self._fetch_one(base, name, folder)
        except FileNotFoundError:
            shutil.rmtree(folder, ignore_errors=True)
            return None
        except FormatError:
            self._store.remove(f"{base}/{HEAD}")
            return None
        if read_artifact(folder) is None:  # damaged there: made again, it is uploaded again
            shutil.rmtree(folder, ignore_errors=True)
            self._store.remove(f"{base}/{HEAD}")
            return None
        return folder

    def _fetch_one(self, base: str, name: str, folder: Path) -> None:
        content = self._store.open_range(f"{base}/{name}")
        with storage_errors(folder):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)

    def put(self, stage: str, artifact: Artifact) -> None:
        """Put an artifact that was made here, the head last.

        Raises:
            StorageError: the store refuses.
        """
        if stage not in DEAR_STAGES:
            return
        base = _base(stage, artifact.digest)
        names = [file.path for file in head_of((artifact.folder / HEAD).read_bytes()).files]
        for name in names:
            self._store.publish(artifact.folder / name, f"{base}/{name}")
        self._store.publish(artifact.folder / HEAD, f"{base}/{HEAD}", new=True)


def _base(stage: str, digest: str) -> str:
    return f"{stage}/{digest[:2]}/{digest}"
