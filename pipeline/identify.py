"""Which bytes an item stands for: its files fetched, hashed, and its annotation files found."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from corpus.pipeline.inputs import Item, ItemFile, is_url
from corpus.schemas.codec import digest
from corpus.schemas.errors import MediaError

HASH_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class FileMark:
    """How a file looked when it was hashed: the same mark is taken for the same bytes."""

    place: str
    bytes: int
    mtime_ns: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """An item with the content of everything it is made from."""

    item: Item
    recording: str
    """Content hash of the recording: 64 hex digits."""
    media: tuple[FileMark, ...]
    """One for each of the item's files, at its local path."""
    sidecars: tuple[FileMark, ...]

    @property
    def bytes(self) -> int:
        return sum(mark.bytes for mark in self.media)


def identify(item: Item, known: Mapping[str, FileMark], downloads: Path) -> Identity:
    """Fetch and hash what an item names, asking `known` (by place) before reading a file.

    Raises:
        MediaError: a file is gone, unreadable or empty, or a URL cannot be fetched.
    """
    from corpus.align.sidecars import find_sidecars

    paths = [_local(file, downloads) for file in item.files]
    media = tuple(mark(path, known) for path in paths)
    for found, file in zip(media, item.files, strict=True):
        if not found.bytes:
            raise MediaError("the file is empty", where=file.uri, todo="fetch or record it again")
    if item.sidecars is not None:
        beside = [Path(place) for place in item.sidecars]
    else:
        beside = [side for path in paths for side in find_sidecars(path)]
    return Identity(
        item=item,
        recording=recording_hash(item.files, [m.sha256 for m in media]),
        media=media,
        sidecars=tuple(mark(path, known) for path in beside),
    )


def recording_hash(files: Sequence[ItemFile], hashes: Sequence[str]) -> str:
    """sha256 of the one file; of the list of hashes, speakers and offsets where there are several."""
    if len(files) == 1 and files[0].speaker is None and files[0].offset_us == 0:
        return hashes[0]
    return digest([[h, f.speaker, f.offset_us] for h, f in zip(hashes, files, strict=True)])


def mark(path: Path, known: Mapping[str, FileMark]) -> FileMark:
    """The mark of a local file, its content read only if place, size or time are new."""
    try:
        state = os.stat(path)
        before = known.get(str(path))
        if before and (before.bytes, before.mtime_ns) == (state.st_size, state.st_mtime_ns):
            return before
        return FileMark(
            place=str(path), bytes=state.st_size, mtime_ns=state.st_mtime_ns, sha256=sha256_of(path)
        )
    except OSError as error:
        raise MediaError(f"the file cannot be read: {error.strerror}", where=path.name) from error


def sha256_of(path: Path) -> str:
    """sha256 of a file's bytes as 64 hex digits, read in blocks."""
    hasher = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:
        while block := file.read(HASH_BLOCK_BYTES):
            hasher.update(block)
    return hasher.hexdigest()


def _local(file: ItemFile, downloads: Path) -> Path:
    if not is_url(file.place):
        return Path(file.place)
    from corpus.pipeline.fetch import fetch

    return fetch(file.place, downloads)
