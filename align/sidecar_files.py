"""Finds the annotation files beside a media file, without opening them."""

from __future__ import annotations

import os
from pathlib import Path

ENDINGS = (".json", ".json.gz", ".rttm", ".ctm", ".stm", ".uem", ".eaf", ".TextGrid", ".vtt", ".srt")
_SPELLINGS = [(e, tuple(dict.fromkeys((e, e.lower(), e.upper())))) for e in ENDINGS]


class Listing:
    """The names in folders; each folder is read only once, for finding the sidecars of many files."""

    def __init__(self) -> None:
        self._names: dict[str, frozenset[str] | None] = {}

    def names_in(self, folder: str) -> frozenset[str] | None:
        """The names in a folder, however they are spelled; None if it cannot be read."""
        if folder not in self._names:
            try:
                self._names[folder] = frozenset(name.casefold() for name in os.listdir(folder or "."))
            except OSError:
                self._names[folder] = None
        return self._names[folder]


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
