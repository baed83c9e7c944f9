"""Writing files so that a reader sees them whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from corpus.schemas.errors import DatasetError, StorageError

TEMPORARY = ".writing"
"""Suffix of a file that is not complete yet."""
_CHUNK = 1 << 20
_LONGEST_NAME = 200


def temporary(path: Path) -> Path:
    return path.with_name(path.name + TEMPORARY)


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn errors of the disk into a StorageError with the reason and what to do."""
    try:
        yield
    except OSError as error:
        todo = {
            errno.ENOSPC: "make room on the disk and run the same command again",
            errno.EDQUOT: "make room in the quota and run the same command again",
            errno.EROFS: "give a folder that can be written",
            errno.EACCES: "give a folder that can be written",
            errno.EPERM: "give a folder that can be written",
        }
        reason = os.strerror(error.errno) if error.errno else str(error)
        hint = todo.get(error.errno or 0, "check the disk and run the same command again")
        raise StorageError(reason, where=str(error.filename or path), todo=hint) from error


def write_whole(path: Path, content: bytes) -> None:
    """Write under a temporary name, make it durable, rename."""
    try:
        with open(temporary(path), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        put_in_place(path)
    except OSError:
        temporary(path).unlink(missing_ok=True)
        raise


def put_in_place(path: Path) -> None:
    """Rename the finished temporary file of `path` over it, durably."""
    os.replace(temporary(path), path)
    sync_folder(path.parent)


def sync_tree(folder: Path) -> None:
    """Flush a folder with all files and folders below it to disk, so that they survive a crash."""
    for here, _, names in os.walk(folder):
        for name in names:
            sync_file(Path(here) / name)
        sync_folder(Path(here))


def sync_file(path: Path) -> None:
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Flush a folder's list of names to disk, so that it survives a crash."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def is_inside_name(name: str) -> bool:
    """Whether an untrusted name is a plain relative path below a folder: no `..`, no root, nothing odd."""
    parts = name.split("/")
    plain = name.isprintable() and "\\" not in name and len(name.encode(errors="replace")) <= _LONGEST_NAME
    return plain and all(part not in ("", ".", "..") for part in parts)


def inside(root: Path, name: str) -> Path:
    """The path of a file in an untrusted folder.

    A link may lead elsewhere in the folder, or to the blobs of the Hugging Face cache that contains it.

    Raises:
        DatasetError: the path leads out of the folder, or to a pipe or device. A missing file is no error
        here.
    """
    path, real_root = root / name, os.path.realpath(root)
    try:
        real = os.path.realpath(path)
        mode = os.stat(real).st_mode if os.path.exists(real) else stat.S_IFREG
    except (OSError, ValueError) as error:
        raise DatasetError(f"the path cannot be used: {error}", where=repr(str(path))) from error
    homes = [real_root]
    if os.path.basename(os.path.dirname(real_root)) == "snapshots":
        homes.append(os.path.join(os.path.dirname(os.path.dirname(real_root)), "blobs"))
    if not any(real.startswith(home.rstrip(os.sep) + os.sep) for home in homes):
        todo = "a dataset must contain its own files: replace the link with a copy"
        raise DatasetError("leads out of the dataset's folder", where=str(path), todo=todo)
    if not stat.S_ISREG(mode):
        todo = "remove it from the folder, or copy the dataset again"
        raise DatasetError("is a folder, pipe or device where a file must be", where=str(path), todo=todo)
    return path


def sha256_file(path: Path) -> str:
    hasher = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:
        # Not more than there is: to clear a whole chunk takes longer than to read a small file.
        buffer = memoryview(bytearray(min(_CHUNK, os.fstat(file.fileno()).st_size + 1)))
        while count := file.readinto(buffer):
            hasher.update(buffer[:count])
    return hasher.hexdigest()


def has_size(path: Path, size: int) -> bool:
    try:
        return path.stat().st_size == size
    except OSError:
        return False
