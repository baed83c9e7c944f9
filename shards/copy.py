"""Copying a shard's clips from where they are, checking each one's hash on the way."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from corpus.schemas.errors import DatasetError
from corpus.schemas.store import Store
from corpus.shards.runs import Run
from corpus.shards.tar import END

_CHUNK = 1 << 20
_FAR_CHUNK = 8 << 20
"""A request each."""


class DamagedClipError(DatasetError):
    """The bytes at a clip's position are not those of its row."""

    def __init__(self, file: Path) -> None:
        super().__init__("holds other bytes than its clips had", where=str(file), todo="build again")
        self.file = file

    def __reduce__(self) -> tuple[object, ...]:
        return (DamagedClipError, (self.file,))


class FarSource:
    """A shard in a store, read clip by clip."""

    def __init__(self, store: Store, name: str) -> None:
        self._store = store
        self._name = name

    def __enter__(self) -> FarSource:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def seek(self, offset: int) -> None:
        self._at = offset

    def readinto(self, buffer: memoryview) -> int:
        """Fill the buffer; reads nothing if the shard is gone."""
        try:
            data = self._store.open_range(self._name, self._at, self._at + len(buffer))
        except FileNotFoundError:
            return 0
        buffer[:] = data
        self._at += len(data)
        return len(data)


def sha256_if_same(path: Path, sizes: Sequence[int], sha256s: Sequence[str]) -> str | None:
    """The shard's sha256 if it holds exactly the clips of these sizes and hashes."""
    whole = hashlib.sha256()
    with open(path, "rb") as file:
        for size, sha256 in zip(sizes, sha256s, strict=True):
            clip = file.read(size)
            if hashlib.sha256(clip).hexdigest() != sha256:
                return None
            whole.update(clip)
        # Everything behind the clips must be exactly the end mark, or the tar was appended to.
        end = file.read()
    whole.update(end)
    return whole.hexdigest() if end == END else None


def write_shard(path: Path, runs: Iterable[Run], far: Mapping[Path, FarSource] | None = None) -> str:
    """Copy the clips into a tar and return its sha256. Files in `far` are read from the store.

    Raises:
        DamagedClipError: a clip does not match its row.
    """
    hasher = hashlib.sha256()
    # One buffer for the whole shard: readinto() copies without allocating.
    buffer = memoryview(bytearray(_FAR_CHUNK if far else _CHUNK))
    with open(path, "wb", buffering=0) as tar:
        for run in runs:
            with _source(Path(run.file), far) as source:
                source.seek(run.offset)
                for size, sha256 in zip(run.sizes, run.sha256s, strict=True):
                    if _copy(source, size, tar, hasher, buffer) != sha256:
                        raise DamagedClipError(Path(run.file))
        _write_all(tar, memoryview(END))
        os.fsync(tar.fileno())
    hasher.update(END)
    return hasher.hexdigest()


def _source(file: Path, far: Mapping[Path, FarSource] | None) -> io.FileIO | FarSource:
    return far[file] if far and file in far else open(file, "rb", buffering=0)


def _copy(
    source: io.FileIO | FarSource, size: int, tar: io.FileIO, hasher: hashlib._Hash, buffer: memoryview
) -> str:
    """Copy one clip; its own sha256."""
    own = hashlib.sha256()
    left = size
    while left:
        count = source.readinto(buffer[:left])
        if not count:
            break  # cut off: the hash will not match
        own.update(buffer[:count])
        hasher.update(buffer[:count])
        _write_all(tar, buffer[:count])
        left -= count
    return own.hexdigest()


def _write_all(tar: io.FileIO, data: memoryview) -> None:
    while data:
        # An unbuffered write may be partial.
        data = data[tar.write(data) :]
