"""Identifying an item by its bytes: fetching and hashing its files, and finding its annotation files."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from corpus.align.sidecar_files import Listing, find_sidecars
from corpus.pipeline.items import Item, ItemFile
from corpus.schemas.codec import digest
from corpus.schemas.errors import MediaError
from corpus.schemas.files import sha256_file
from corpus.schemas.marks import FileMark
from corpus.schemas.urls import is_url


class VanishedError(MediaError):
    """A file that was hashed is not there any more, or its mount is gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """An item with the hashes of all its files."""

    item: Item
    recording: str
    """Content hash of the recording: 64 hex digits."""
    media: tuple[FileMark, ...]
    """One mark for each of the item's files, at its local path."""
    sidecars: tuple[FileMark, ...]

    @property
    def bytes(self) -> int:
        return sum(mark.bytes for mark in self.media)


def identify(
    item: Item,
    known: Mapping[str, FileMark],
    downloads: Path,
    listing: Listing | None = None,
    sidecars: Sequence[str] | None = None,
) -> Identity:
    """Fetch and hash an item's files; `known` (by path) avoids reading unchanged ones.

    `sidecars` are its annotation files, if they have been found.

    Raises:
        MediaError: a file is gone, unreadable or empty, or a URL cannot be fetched.
    """
    places = [_local(file, downloads) for file in item.files]
    media = tuple(mark(place, known) for place in places)
    for medium, file in zip(media, item.files, strict=True):
        if not medium.bytes:
            raise MediaError("the file is empty", where=file.uri, todo="fetch or record it again")
    # Sidecars are part of what is built, not of the recording's identity.
    beside = sidecars_of(item, places, listing or Listing()) if sidecars is None else sidecars
    return Identity(
        item=item,
        recording=recording_hash(item.files, [m.sha256 for m in media]),
        media=media,
        sidecars=tuple(mark(place, known) for place in beside),
    )


def identified_before(item: Item, known: Mapping[str, FileMark], listing: Listing) -> Identity | None:
    """The item's content, if all its files were hashed before and seem unchanged."""
    if any(is_url(file.place) for file in item.files):
        return None
    places = [file.place for file in item.files]
    media = [_as_marked(place, known) for place in places]
    sidecars = [_as_marked(place, known) for place in sidecars_of(item, places, listing)]
    sound = [mark for mark in media if mark is not None]
    if len(sound) < len(media) or None in sidecars:
        return None
    return Identity(
        item=item,
        recording=recording_hash(item.files, [mark.sha256 for mark in sound]),
        media=tuple(sound),
        sidecars=tuple(mark for mark in sidecars if mark is not None),
    )


def _as_marked(place: str, known: Mapping[str, FileMark]) -> FileMark | None:
    before = known.get(place)
    if before is None:
        return None
    try:
        now = os.stat(place)
    except (OSError, ValueError):
        return None
    return before if _seems_unchanged(before, now) else None


def _seems_unchanged(before: FileMark, now: os.stat_result) -> bool:
    return (before.bytes, before.mtime_ns) == (now.st_size, now.st_mtime_ns)


def sidecars_of(item: Item, media: Sequence[str], listing: Listing) -> Sequence[str]:
    """The annotation files named for an item, otherwise those beside its media files."""
    if item.sidecars is not None:
        return item.sidecars
    beside = (find_sidecars(Path(place), listing) for place in media if listing.may_have_sidecars(place))
    return [str(path) for paths in beside for path in paths]


def recording_hash(files: Sequence[ItemFile], hashes: Sequence[str]) -> str:
    """sha256 of a single file, or of the list of hashes, speakers and offsets of several."""
    # The usual recording is known by the sha256 that any other tool shows for its file.
    if len(files) == 1 and files[0].speaker is None and files[0].offset_us == 0:
        return hashes[0]
    return digest([[h, f.speaker, f.offset_us] for h, f in zip(hashes, files, strict=True)])


def mark(place: str, known: Mapping[str, FileMark]) -> FileMark:
    """The mark of a local file, whose content is read only if path, size or time are new.

    Raises:
        MediaError: the file is not regular, is unreadable, or was written to while it was read.
    """
    try:
        state = os.stat(place)
        if not stat.S_ISREG(state.st_mode):
            what = "this is a folder, pipe, socket or device, not a file"
            raise MediaError(what, where=os.path.basename(place))
        before = known.get(place)
        if before is not None and _seems_unchanged(before, state):
            return before
        sha256 = sha256_file(Path(place))
        # A copy still in progress would be hashed half.
        if _look(os.stat(place)) != _look(state):
            raise _changing(os.path.basename(place))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise MediaError(f"the file cannot be read: {reason}", where=os.path.basename(place)) from error
    return FileMark(
        place=place,
        bytes=state.st_size,
        mtime_ns=state.st_mtime_ns,
        sha256=sha256,
        ctime_ns=state.st_ctime_ns,
    )


@contextmanager
def unchanged(identity: Identity) -> Iterator[None]:
    """Check, before and after the block, that the media files are the ones that were hashed.

    Raises:
        MediaError: a media file was replaced or changed.
    """
    before = []
    for medium, file in zip(identity.media, identity.item.files, strict=True):
        state = _stat(medium.place, file.uri)
        same = (state.st_size, state.st_mtime_ns, state.st_ctime_ns)
        as_hashed = same == (medium.bytes, medium.mtime_ns, medium.ctime_ns)
        if not as_hashed and _sha256(medium.place, file.uri) != medium.sha256:
            raise _changing(file.uri)  # same bytes under a new time are fine
        before.append(_look(state))
    yield
    for medium, file, look in zip(identity.media, identity.item.files, before, strict=True):
        if _look(_stat(medium.place, file.uri)) != look:
            raise _changing(file.uri)


def _stat(place: str, name: str) -> os.stat_result:
    try:
        return os.stat(place)
    except OSError as error:
        raise VanishedError(f"the file is no longer accessible: {error.strerror}", where=name) from error


def _sha256(place: str, name: str) -> str:
    try:
        return sha256_file(Path(place))
    except OSError as error:
        raise MediaError(f"the file cannot be read: {error.strerror}", where=name) from error


def _look(state: os.stat_result) -> tuple[int, ...]:
    return state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns


def _changing(name: str) -> MediaError:
    todo = "wait until it is complete, then build again"
    return MediaError("the file was written to while it was being read", where=name, todo=todo)


def _local(file: ItemFile, downloads: Path) -> str:
    if not is_url(file.place):
        return file.place
    from corpus.pipeline.fetch import fetch

    return str(fetch(file.place, downloads, guarded=file.guarded))
