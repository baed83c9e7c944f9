"""A local cache for clips of a remote dataset, limited in bytes: the oldest are removed first."""

from __future__ import annotations

import hashlib
import os
import secrets
from contextlib import suppress
from pathlib import Path

from corpus.schemas.errors import SettingsError

FOLDER_VARIABLE = "CORPUS_READ_CACHE_DIR"
BYTES_VARIABLE = "CORPUS_READ_CACHE_BYTES"
_BYTES = 10_000_000_000
_FREED_SHARE = 0.2
"""Share removed when the space is used up, so that it lasts for a while."""


class NearClips:
    """Files by the sha256 of their content. Several processes may share the folder."""

    def __init__(self, folder: Path, most_bytes: int) -> None:
        self._folder = folder
        self._most = most_bytes
        self._unseen: int | None = None
        """Bytes written since the folder was measured; None before it was."""
        self._held = 0

    def get(self, sha256: str) -> bytes | None:
        """The content, checked against its digest; None if it is not in the cache or damaged."""
        if not sha256.isalnum():  # an index may come from elsewhere, and this becomes a path
            return None
        path = self._path(sha256)
        try:
            content = path.read_bytes()
            os.utime(path)
        except OSError:
            return None
        return content if hashlib.sha256(content).hexdigest() == sha256 else None

    def put(self, sha256: str, content: bytes) -> None:
        """Keep the content if there is room; otherwise it is downloaded again when needed."""
        if len(content) > self._most:
            return
        path = self._path(sha256)
        own = path.with_name(f"{sha256}.{secrets.token_hex(8)}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            own.write_bytes(content)
            own.replace(path)
        except OSError:
            with suppress(OSError):
                own.unlink()
            return
        self._unseen = None if self._unseen is None else self._unseen + len(content)
        if self._unseen is None or self._held + self._unseen > self._most:
            self._make_room()

    def _path(self, sha256: str) -> Path:
        return self._folder / sha256[:2] / sha256

    def _make_room(self) -> None:
        """Measure all files, including those of other processes, and remove the longest unused ones."""
        files = []
        for path in self._folder.glob("*/*"):
            with suppress(OSError):
                state = path.stat()
                files.append((state.st_mtime_ns, state.st_size, path))
        held = sum(size for _, size, _ in files)
        if held > self._most:
            for _, size, path in sorted(files):
                if held <= self._most * (1 - _FREED_SHARE):
                    break
                with suppress(OSError):
                    path.unlink()
                held -= size
        self._held, self._unseen = held, 0


def near_clips() -> NearClips:
    """The cache of this machine, with its folder and its limit in bytes.

    Raises:
        SettingsError: the environment variable is not a number of bytes.
    """
    folder = os.environ.get(FOLDER_VARIABLE)
    text = os.environ.get(BYTES_VARIABLE, str(_BYTES))
    if not text.isascii() or not text.isdigit():
        raise SettingsError(
            f"{text!r} is not a number of bytes", where=BYTES_VARIABLE, todo="use 0 to keep nothing"
        )
    return NearClips(Path(folder) if folder else Path.home() / ".cache" / "corpus" / "clips", int(text))
