"""Finds the annotation files beside a media file, without opening them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

ENDINGS = (".json", ".json.gz", ".rttm", ".ctm", ".stm", ".uem", ".eaf", ".TextGrid", ".vtt", ".srt")
_SPELLINGS = [(e, tuple(dict.fromkeys((e, e.lower(), e.upper())))) for e in ENDINGS]
_FOLDED = tuple(ending.casefold() for ending in ENDINGS)


class Listing:
    """The names in folders; each folder is read only once, for finding the sidecars of many files."""

    def __init__(self) -> None:
        self._names: dict[str, frozenset[str] | None] = {}
        self._stems: dict[str, frozenset[str]] = {}
        self._empty: set[str] = set()
        """Folders without annotation files."""

    def names_in(self, folder: str) -> frozenset[str] | None:
        """The names in a folder, however they are spelled; None if it cannot be read."""
        if folder not in self._names:
            try:
                self._names[folder] = frozenset(name.casefold() for name in os.listdir(folder or "."))
            except OSError:
                self._names[folder] = None
        return self._names[folder]

    def may_have_sidecars(self, media: str) -> bool:
        """Whether annotation files may lie beside a media file: seldom wrong, and only in saying yes."""
        folder, _, name = media.rpartition("/")
        if folder in self._empty:
            return False
        names = self.names_in(folder or "/")
        if names is None:
            return True
        if folder not in self._stems:
            self._stems[folder] = frozenset(_stems(names))
            if not self._stems[folder]:
                self._empty.add(folder)
        stems, name = self._stems[folder], name.casefold()
        return name in stems or name.rpartition(".")[0] in stems

    def about(self, media: Iterable[str]) -> Listing:
        """What it holds of the annotation files of these media files."""
        part, kept = Listing(), dict[str, set[str]]()
        for place in media:
            folder, _, name = place.rpartition("/")
            names = self.names_in(folder or "/")
            if names is None:
                part._names[folder or "/"] = None
                continue
            stems = {name.casefold(), name.casefold().rpartition(".")[0]}
            possible = {stem + ending for stem in stems for ending in _FOLDED}
            kept.setdefault(folder or "/", set()).update(possible & names)
        part._names |= {folder: frozenset(names) for folder, names in kept.items()}
        return part

    def joined(self, other: Listing) -> Listing:
        """What either of two parts holds."""
        both = Listing()
        for folder in self._names.keys() | other._names.keys():
            names = [part._names[folder] for part in (self, other) if folder in part._names]
            known = [some for some in names if some is not None]
            both._names[folder] = frozenset().union(*known) if len(known) == len(names) else None
        return both


def _stems(names: Iterable[str]) -> Iterator[str]:
    """What the names of annotation files are made of, without their endings."""
    for name in names:
        if name.endswith(_FOLDED):
            yield from (name.removesuffix(ending) for ending in _FOLDED if name.endswith(ending))


def find_sidecars(media: Path, listing: Listing | None = None) -> list[Path]:
    """The annotation files of one media file: `x.rttm` and `x.mp4.rttm` of `x.mp4`, longer name first."""
    sidecars: list[Path] = []
    names = listing.names_in(os.path.dirname(media)) if listing is not None else None
    for stem in dict.fromkeys((media.name, media.stem)):
        for ending, spellings in _SPELLINGS:
            # Most files lack most endings: no need to ask the disk for each.
            if names is not None and (stem + ending).casefold() not in names:
                continue
            for spelled in spellings:
                path = media.with_name(stem + spelled)
                if path != media and _is_file(path) and not any(path.samefile(other) for other in sidecars):
                    sidecars.append(path)
    return sidecars


def _is_file(path: Path) -> bool:
    """Whether it is a file; a name that is too long for the file system is not."""
    try:
        return path.is_file()
    except OSError:
        return False
