"""An open shard. Damage is reported before reading, and a file cut off in the meantime raises an error.

The file is read, not mapped: touching a page of a mapped file that has been cut off kills the whole process,
and no earlier check can exclude that.
"""

from __future__ import annotations

import os
from pathlib import Path

from corpus.schemas.errors import DatasetError, FormatError, StorageError
from corpus.schemas.files import sha256_file


class ShardFile:
    """The bytes of a shard. Threads and forked processes may share it."""

    __slots__ = ("_handle", "path", "size")

    def __init__(self, path: Path, size: int, sha256: str | None = None) -> None:
        """Open the file, after checking its digest if one is given.

        Raises:
            DatasetError: the file is missing, of another size, or holds other bytes.
        """
        self._handle = -1
        check_size(path, size)
        if sha256 is not None and sha256_file(path) != sha256:
            todo = "`corpus verify` finds what is damaged; copy it again, or run corpus build again"
            raise DatasetError("does not match the manifest", where=str(path), todo=todo)
        self.path = path
        self.size = size
        self._handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def read(self, start: int, stop: int) -> memoryview:
        """Bytes `[start, stop)` of the file.

        Raises:
            FormatError: the file has been cut off since it was opened.
            StorageError: the disk cannot read them.
        """
        try:
            data = os.pread(self._handle, stop - start, start)
            # A signal, or the system's own bound, ends a read early; nothing at all is the end of the file.
            while len(data) < stop - start:
                more = os.pread(self._handle, stop - start - len(data), start + len(data))
                if not more:
                    raise FormatError(
                        "the file was cut off while it was in use",
                        where=str(self.path),
                        todo="copy it again, or run corpus build again",
                    )
                data += more
        except OSError as error:
            what = f"bytes {start} to {stop} cannot be read: {error.strerror}"
            raise StorageError(what, where=str(self.path), todo="check the disk or the mount") from error
        return memoryview(data)

    def __del__(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)


def check_size(path: Path, size: int) -> None:
    try:
        actual = path.stat().st_size
    except OSError as error:
        raise DatasetError("a file of the dataset is missing", where=str(path)) from error
    if actual != size:
        todo = "the file is cut off or changed: copy it again, or run corpus build again"
        raise DatasetError(f"holds {actual} bytes, the manifest says {size}", where=str(path), todo=todo)
