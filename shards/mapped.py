"""A shard mapped into memory; damage is reported before it is read."""

from __future__ import annotations

import mmap
from pathlib import Path

from corpus.schemas.errors import DatasetError, FormatError
from corpus.schemas.files import sha256_file


class MappedShard:
    """The bytes of a shard. Reading beyond its end would kill the process, so the length is checked first."""

    __slots__ = ("_map", "_view", "path")

    def __init__(self, path: Path, size: int, sha256: str | None = None) -> None:
        """Map the file, after checking its digest if one is given.

        Raises:
            DatasetError: the file is missing, of another size, or holds other bytes.
        """
        check_size(path, size)
        if sha256 is not None and sha256_file(path) != sha256:
            todo = "`corpus verify` finds what is damaged; copy it again, or run corpus build again"
            raise DatasetError("holds other bytes than the manifest promises", where=str(path), todo=todo)
        self.path = path
        with open(path, "rb") as file:
            # Read-only and shared: workers on one machine use the same pages.
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._view = memoryview(self._map)

    def view(self) -> memoryview:
        """The mapped bytes.

        Raises:
            FormatError: the file has been cut off since it was opened.
        """
        if self._map.size() < len(self._view):  # the file's size now, not that of the mapping
            raise FormatError(
                "the file was cut off while it was in use",
                where=str(self.path),
                todo="copy it again, or run corpus build again",
            )
        return self._view


def check_size(path: Path, size: int) -> None:
    try:
        found = path.stat().st_size
    except OSError as error:
        raise DatasetError("a file of the dataset is missing", where=str(path)) from error
    if found != size:
        todo = "the file is cut off or changed: copy it again, or run corpus build again"
        raise DatasetError(f"holds {found} bytes, the manifest says {size}", where=str(path), todo=todo)
