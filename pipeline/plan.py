"""What a build would do, found without changing anything."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from corpus.pipeline import stages, state
from corpus.pipeline.build import Request
from corpus.pipeline.cache import Cache
from corpus.pipeline.identify import FileMark, Identity, recording_hash
from corpus.pipeline.inputs import Item, gather, is_url
from corpus.pipeline.removals import removed
from corpus.schemas.clock import US, WINDOW_US
from corpus.schemas.drops import Drop
from corpus.schemas.errors import CorpusError

BYTES_PER_WINDOW_AND_CHANNEL = 4_500
"""FLAC of 200 ms and its mel and activity, about: speech at 16 kHz compresses to a little over half."""
BYTES_PER_PICTURE = 8_000
CACHE_SHARE = 3.0
"""Cache bytes to dataset bytes, about: raw samples before and after splitting voices, and the clips."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedItem:
    """One recording and what would happen to it."""

    uri: str
    action: Literal["build", "decoded", "skip", "fault"]
    """`build` from the start, `decoded` already so that only later stages may run, `skip` because it is in
    quarantine, `fault` because it cannot be read."""
    duration_us: int
    bytes: int
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a build would do."""

    nothing_to_do: bool
    items: tuple[PlannedItem, ...]
    drops: tuple[Drop, ...]
    dataset_bytes: int
    """An estimate for two speakers."""
    cache_bytes: int
    removals: tuple[str, ...] = ()
    """Built recordings that the inputs no longer name; a build stops at them unless told."""

    @property
    def hours(self) -> float:
        return sum(item.duration_us for item in self.items) / US / 3600


def plan(request: Request) -> Plan:
    """Look at every input, probe it, and ask the cache; nothing is written, hashed or decoded."""
    from corpus.pipeline.build import quick_key, refuse_newer

    items, drops = gather(request.inputs)
    refuse_newer(request.out)
    kept = state.State(request.out)
    cache = Cache(request.cache or kept.folder, "plan")
    marks = kept.marks()
    held = {q.uri: q.drops[0].reason for q in kept.quarantine().items if not q.built and q.drops}
    planned = tuple(_planned(item, request, cache, marks, held) for item in items)
    finished = kept.finished()
    windows = sum(p.duration_us // WINDOW_US for p in planned if p.action in ("build", "decoded"))
    dataset_bytes = windows * (3 * BYTES_PER_WINDOW_AND_CHANNEL + BYTES_PER_PICTURE)
    return Plan(
        nothing_to_do=bool(
            finished
            and finished.key == quick_key(items, request)
            and finished.outputs == state.outputs_of(request.out)
        ),
        items=planned,
        drops=tuple(drops),
        dataset_bytes=dataset_bytes,
        cache_bytes=int(dataset_bytes * CACHE_SHARE),
        removals=tuple(removed(request.out, _known_recordings(items, marks), (item.uri for item in items))),
    )


def _known_recordings(items: Sequence[Item], marks: dict[str, FileMark]) -> set[str]:
    """Content hashes of the items whose files have been hashed before."""
    found = set()
    for item in items:
        known = [marks[file.place].sha256 for file in item.files if file.place in marks]
        if len(known) == len(item.files):
            found.add(recording_hash(item.files, known))
    return found


def _planned(
    item: Item, request: Request, cache: Cache, marks: dict[str, FileMark], held: dict[str, str]
) -> PlannedItem:
    from corpus.ingest.probe import probe_media

    if any(is_url(file.place) for file in item.files):
        return PlannedItem(uri=item.uri, action="build", duration_us=0, bytes=0, reason="to be fetched")
    size = sum(os.path.getsize(file.place) for file in item.files)
    try:
        duration_us = max(probe_media(Path(file.place)).duration_us or 0 for file in item.files)
    except CorpusError as error:
        return PlannedItem(uri=item.uri, action="fault", duration_us=0, bytes=size, reason=str(error))
    if item.uri in held:
        return PlannedItem(
            uri=item.uri, action="skip", duration_us=duration_us, bytes=size, reason=held[item.uri]
        )
    action: Literal["build", "decoded"] = "decoded" if _decoded(item, request, cache, marks) else "build"
    return PlannedItem(uri=item.uri, action=action, duration_us=duration_us, bytes=size)


def _decoded(item: Item, request: Request, cache: Cache, marks: dict[str, FileMark]) -> bool:
    known = []
    for file in item.files:
        before, now = marks.get(file.place), os.stat(file.place)
        if before is None or (before.bytes, before.mtime_ns) != (now.st_size, now.st_mtime_ns):
            return False
        known.append(before)
    identity = Identity(
        item=item,
        recording=recording_hash(item.files, [m.sha256 for m in known]),
        media=tuple(known),
        sidecars=(),
    )
    return cache.has("decode", stages.decode_key(identity, request.settings))
