"""A stand-in for a shard stored elsewhere: an empty file of the same size and time, which takes no space."""

from __future__ import annotations

import os
from pathlib import Path

from corpus.schemas.files import storage_errors


def is_stand_in(path: Path) -> bool:
    """Whether the file occupies no block on disk."""
    try:
        state = path.stat()
    except OSError:
        return False
    return state.st_size > 0 and state.st_blocks == 0


def stand_in(path: Path, size: int) -> None:
    """Replace a shard by an empty file of this size, with the shard's time if it existed."""
    with storage_errors(path):
        before = path.stat() if path.exists() else None
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_name(path.name + ".stand-in")
        with open(new, "wb") as file:
            file.truncate(size)
        if before is not None:
            os.utime(new, ns=(before.st_atime_ns, before.st_mtime_ns))
        new.replace(path)
