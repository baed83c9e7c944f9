"""Groups inputs into bundles of some hundred consecutive items, recognised by the look of all their files.

What a build remembers is kept bundle by bundle, so that an added or changed item costs only one bundle. The
end of a bundle depends only on the last item's name, so that earlier items do not move it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from zlib import crc32

from corpus.align.sidecar_files import Listing, find_sidecars
from corpus.pipeline.items import Found, Item, ItemFile, Items
from corpus.schemas.urls import is_url

MEAN_ITEMS = 256
_ITEM = attrgetter(*(field.name for field in dataclasses.fields(Item) if field.name != "files"))
_FILE = attrgetter(*(field.name for field in dataclasses.fields(ItemFile)))


@dataclass(frozen=True, slots=True)
class Bundle:
    """Consecutive items."""

    look: str
    """Digest of the items, and of paths, sizes and times of all their files, which are not opened."""
    count: int
    items: Items | None
    """None if they were looked at elsewhere, and are known."""


def bundles_of(items: Items, listing: Listing | None = None) -> list[Bundle]:
    """The items in bundles, in their order."""
    return list(_bundles(items, listing or Listing()))


def _bundles(items: Items, listing: Listing) -> Iterator[Bundle]:
    looks, first = [], 0
    for number, entry in enumerate(items.entries, start=1):
        looks.append(_look_of(entry, listing))
        if number == len(items) or not crc32(entry.uri.encode()) % MEAN_ITEMS:
            look = hashlib.sha256("\n".join(looks).encode()).hexdigest()
            yield Bundle(look, number - first, items[first:number])
            looks, first = [], number


def _look_of(entry: Item | Found, listing: Listing) -> str:
    """The item, and the looks of its files and of those beside them, as a unique text."""
    if isinstance(entry, Found):
        uri, place, size, mtime_ns = entry  # of the file when it was found: it need not be asked again
        text = f"{uri}\0{place}\0{size}\0{mtime_ns}"  # no path has a NUL in it
        if not listing.may_have_sidecars(place):
            return text
        return f"{text}\0{_looks_beside(place, listing)!r}"
    places = [file.place for file in entry.files]
    looks = [look(place) for place in places]
    if entry.sidecars is not None:
        looks += [look(place) for place in entry.sidecars]
    else:
        for place in places:
            if not is_url(place) and listing.may_have_sidecars(place):
                looks += _looks_beside(place, listing)
    return repr((_ITEM(entry), [_FILE(file) for file in entry.files], looks))


def _looks_beside(place: str, listing: Listing) -> list[tuple[object, ...]]:
    return [look(str(path)) for path in find_sidecars(Path(place), listing)]


def look(place: str) -> tuple[object, ...]:
    """Path, size and time of a file; only its path if it does not exist."""
    try:
        state = os.stat(place)
    except (OSError, ValueError):  # ValueError: a NUL byte in the name
        return (place,)
    return place, state.st_size, state.st_mtime_ns
