"""Detecting whether anything that determines a build has changed, without opening a file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from corpus.align.sidecar_files import Listing, find_sidecars
from corpus.pipeline.inputs import Item
from corpus.pipeline.request import Request
from corpus.pipeline.versions import all_versions
from corpus.schemas.codec import digest, to_plain
from corpus.schemas.reviews_file import REVIEWS_FILE
from corpus.schemas.urls import is_url


def quick_key(items: Sequence[Item], request: Request) -> str:
    """Digest of paths, sizes and times of all inputs, the settings and the versions."""
    looks: list[object] = []
    listing = Listing()
    for item in items:
        places = [file.place for file in item.files]
        beside = item.sidecars
        if beside is None:
            beside = tuple(str(s) for p in places if not is_url(p) for s in find_sidecars(Path(p), listing))
        looks.append([to_plain(item), *(_look(place) for place in (*places, *beside))])
    looks.append(_look(str(request.out / REVIEWS_FILE)))
    # Versions too: after an upgrade nothing is "unchanged".
    return digest([looks, to_plain(request.settings), all_versions()])


def _look(place: str) -> list[object]:
    try:
        state = os.stat(place)
    except (OSError, ValueError):  # ValueError: a NUL byte in the name
        return [place]
    return [place, state.st_size, state.st_mtime_ns]
