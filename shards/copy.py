"""The bytes of a shard: copied from where its clips are, hashed on the way."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path

from corpus.schemas.errors import DatasetError
from corpus.shards.columns import ClipRow
from corpus.shards.plan import ShardPlan
from corpus.shards.tar import END

_CHUNK = 1 << 20


def sha256_if_same(path: Path, plan: ShardPlan) -> str | None:
    """A shard that an interrupted run left, told by the hashes of its clips."""
    whole = hashlib.sha256()
    with open(path, "rb") as file:
        for piece in plan.pieces:
            clip = file.read(piece.row.size)
            if hashlib.sha256(clip).hexdigest() != piece.row.sha256:
                return None
            whole.update(clip)
        end = file.read()
    whole.update(end)
    return whole.hexdigest() if end == END else None


def write_shard(path: Path, plan: ShardPlan) -> str:
    """Copy the clips into a tar; its sha256."""
    hasher = hashlib.sha256()
    buffer = memoryview(bytearray(_CHUNK))
    with open(path, "wb", buffering=0) as tar:
        for file, group in groupby(plan.pieces, key=lambda piece: piece.file):
            with open(file, "rb", buffering=0) as source:
                for start, stop in _runs(piece.row for piece in group):
                    _copy(source, start, stop, tar, hasher, buffer)
        tar.write(END)
        os.fsync(tar.fileno())
    hasher.update(END)
    return hasher.hexdigest()


def _runs(rows: Iterable[ClipRow]) -> Iterator[tuple[int, int]]:
    """Stretches `[start, stop)` of a file in which the clips stand one behind the other."""
    start = stop = -1
    for row in rows:
        if row.offset != stop:
            if stop > start:
                yield start, stop
            start = row.offset
        stop = row.offset + row.size
    yield start, stop


def _copy(
    source: io.FileIO, start: int, stop: int, tar: io.FileIO, hasher: hashlib._Hash, buffer: memoryview
) -> None:
    source.seek(start)
    while start < stop:
        count = source.readinto(buffer[: stop - start])
        if not count:
            raise DatasetError("the file ends before its last clip", where=str(source.name))
        hasher.update(buffer[:count])
        _write_all(tar, buffer[:count])
        start += count


def _write_all(tar: io.FileIO, data: memoryview) -> None:
    while data:
        data = data[tar.write(data) :]
