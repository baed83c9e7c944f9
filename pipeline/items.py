"""The recordings to build, as requested: a million of them as small tuples until they are looked at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from operator import attrgetter
from typing import NamedTuple, overload


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemFile:
    """One media file of an item, on this machine or at a URL."""

    place: str
    """Absolute path, or URL."""
    uri: str
    speaker: str | None = None
    offset_us: int = 0
    guarded: bool = False
    """A URL named in a manifest: it may not reach this machine or its network."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One recording to build, as requested."""

    uri: str
    files: tuple[ItemFile, ...]
    licence: str | None = None
    consent: str | None = None
    conversation: str | None = None
    speakers: tuple[str, ...] = ()
    channels: str | None = None
    sidecars: tuple[str, ...] | None = None
    """Absolute paths; None to look beside the media file."""


class Found(NamedTuple):
    """A file with nothing said about it: what is needed to make its item, and its look."""

    uri: str
    place: str
    bytes: int
    mtime_ns: int

    @property
    def item(self) -> Item:
        return Item(uri=self.uri, files=(ItemFile(place=self.place, uri=self.uri),))


class Items(Sequence[Item]):
    """Items in order of their uri, each with its own; those of plain files are made when asked for."""

    def __init__(self, entries: Sequence[Item | Found]) -> None:
        self.entries = entries

    @staticmethod
    def distinct(entries: Iterable[Item | Found]) -> Items:
        """The entries in order. Those with one uri get `#2`, `#3` … appended, in order of their paths."""
        ordered = sorted(entries, key=attrgetter("uri"))
        if any(one.uri == other.uri for one, other in pairwise(ordered)):
            ordered = _with_own_uris(ordered)
        return Items(ordered)

    @property
    def uris(self) -> list[str]:
        return [entry.uri for entry in self.entries]

    def __len__(self) -> int:
        return len(self.entries)

    @overload
    def __getitem__(self, place: int) -> Item: ...
    @overload
    def __getitem__(self, place: slice) -> Items: ...
    def __getitem__(self, place: int | slice) -> Item | Items:
        if isinstance(place, slice):
            return Items(self.entries[place])
        return _item(self.entries[place])

    def __iter__(self) -> Iterator[Item]:
        return map(_item, self.entries)


def without_doubles(entries: Iterable[Item | Found]) -> Iterable[Item | Found]:
    """The same files named twice, by a glob and a folder say, are one item."""
    return {_same(entry): entry for entry in entries}.values()


def _item(entry: Item | Found) -> Item:
    return entry.item if isinstance(entry, Found) else entry


def _same(entry: Item | Found) -> tuple[object, ...]:
    """Equal for two entries that name the same files."""
    if isinstance(entry, Found):
        return entry[:2]
    [first, *others] = entry.files
    if entry.sidecars is None and not others and first == ItemFile(place=first.place, uri=first.uri):
        return first.uri, first.place
    return entry.files, entry.sidecars


def _with_own_uris(ordered: Sequence[Item | Found]) -> list[Item | Found]:
    seen: Counter[str] = Counter()
    result: list[Item | Found] = []
    for entry in sorted(ordered, key=lambda one: (one.uri, [file.place for file in _item(one).files])):
        seen[entry.uri] += 1
        number = seen[entry.uri]
        result.append(entry if number == 1 else replace(_item(entry), uri=f"{entry.uri}#{number}"))
    return result
