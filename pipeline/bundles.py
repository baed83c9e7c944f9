"""Groups inputs into bundles of some hundred consecutive items, recognised by the look of all their files.

What a build remembers is kept bundle by bundle, so that an added or changed item costs only one bundle. The
end of a bundle depends only on the last item's name, so that earlier items do not move it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from zlib import crc32

from corpus.align.sidecar_files import Listing, find_sidecars
from corpus.pipeline.inputs import Item, ItemFile
from corpus.schemas.urls import is_url

MEAN_ITEMS = 256
_ITEM = attrgetter(*(field.name for field in dataclasses.fields(Item) if field.name != "files"))
_FILE = attrgetter(*(field.name for field in dataclasses.fields(ItemFile)))


@dataclass(frozen=True, slots=True)
class Bundle:
    """Consecutive items."""

    look: str
    """Digest of the items, and of paths, sizes and times of all their files, which are not opened."""
    items: Sequence[Item]


def bundles_of(items: Sequence[Item]) -> list[Bundle]:
    """The items in bundles, in their order."""
    return list(_bundles(items))


def _bundles(items: Sequence[Item]) -> Iterator[Bundle]:
    listing, hasher, first = Listing(), hashlib.sha256(), 0
    for number, item in enumerate(items, start=1):
        hasher.update(_look_of(item, listing))
        if number == len(items) or not crc32(item.uri.encode()) % MEAN_ITEMS:
            yield Bundle(hasher.hexdigest(), items[first:number])
            hasher, first = hashlib.sha256(), number


def _look_of(item: Item, listing: Listing) -> bytes:
    """The item, and the looks of its files and of those beside them, as a unique text."""
    places = [file.place for file in item.files]
    looks = [look(place) for place in places]
    if item.sidecars is not None:
        looks += [look(place) for place in item.sidecars]
    else:
        for place in places:
            if not is_url(place) and listing.may_have_sidecars(place):
                looks += [look(str(path)) for path in find_sidecars(Path(place), listing)]
    return repr((_ITEM(item), [_FILE(file) for file in item.files], looks)).encode()


def look(place: str) -> tuple[object, ...]:
    """Path, size and time of a file; only its path if it does not exist."""
    try:
        state = os.stat(place)
    except (OSError, ValueError):  # ValueError: a NUL byte in the name
        return (place,)
    return place, state.st_size, state.st_mtime_ns
