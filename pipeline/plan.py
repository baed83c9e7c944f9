"""Finding out what a build would do, without changing anything."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from corpus.align.sidecar_files import Listing
from corpus.pipeline import state
from corpus.pipeline.bundles import bundles_of
from corpus.pipeline.cache import Cache
from corpus.pipeline.decoding import decode_key
from corpus.pipeline.identify import Identity, identified_before, recording_hash
from corpus.pipeline.inputs import gather
from corpus.pipeline.items import Item
from corpus.pipeline.published import PublishedRecording
from corpus.pipeline.record import RecordingJob
from corpus.pipeline.removals import built_in, removed
from corpus.pipeline.request import Request
from corpus.pipeline.reviewed import Texts, texts_by_recording
from corpus.schemas.clock import US, WINDOW_US
from corpus.schemas.drops import Drop
from corpus.schemas.errors import CorpusError
from corpus.schemas.marks import FileMark, Marks
from corpus.schemas.urls import is_url

BYTES_PER_WINDOW_AND_CHANNEL = 4_500
"""Approximate bytes of 200 ms of FLAC, mel and activity: 16 kHz speech compresses to a little over half."""
BYTES_PER_PICTURE = 8_000
CACHE_SHARE = 3.0
"""Approximate ratio of cache to dataset bytes: raw samples before and after splitting voices, and clips."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _PlannedItem:
    """One recording and what a build would do with it."""

    uri: str
    action: Literal["build", "decoded", "unchanged", "skip", "fault"]
    """`build` from the start, `decoded` already so that only later stages may run, `unchanged` in the
    dataset,
    `skip` because it is in quarantine, `fault` because it cannot be read."""
    duration_us: int
    bytes: int
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a build would do."""

    nothing_to_do: bool
    items: tuple[_PlannedItem, ...]
    """None where there is nothing to do."""
    drops: tuple[Drop, ...]
    dataset_bytes: int
    """An estimate for two speakers."""
    cache_bytes: int
    removals: tuple[str, ...] = ()
    """Built recordings that the inputs no longer name; a build refuses to remove them unless allowed."""

    @property
    def hours(self) -> float:
        return sum(item.duration_us for item in self.items) / US / 3600


def plan(request: Request) -> Plan:
    """Probe every input and check the cache; nothing is written, hashed or decoded."""
    from corpus.pipeline.build import refuse_newer
    from corpus.pipeline.quick_key import quick_key

    items, drops = gather(request.inputs, request.local_urls)
    refuse_newer(request.out)
    kept = state.State(request.out)
    finished = kept.finished()
    outputs_stand = finished is not None and finished.outputs == state.outputs_of(request.out)
    if finished and outputs_stand and finished.key == quick_key(bundles_of(items), request):
        return Plan(nothing_to_do=True, items=(), drops=tuple(drops), dataset_bytes=0, cache_bytes=0)
    cache = Cache(request.cache or kept.folder, "plan")
    marks = Marks(kept.folder).but(frozenset())
    # By uri only: the key needs hashes, and a plan reads no media.
    held = {q.uri: q.drops[0].reason for q in kept.quarantine().items if not q.built and q.drops}
    known = _Known.read(request, kept) if outputs_stand else None
    listing = Listing()
    planned = tuple(_planned(item, request, cache, marks, held, known, listing) for item in items)
    windows = sum(p.duration_us // WINDOW_US for p in planned if p.action in ("build", "decoded"))
    dataset_bytes = windows * (3 * BYTES_PER_WINDOW_AND_CHANNEL + BYTES_PER_PICTURE)
    return Plan(
        nothing_to_do=False,
        items=planned,
        drops=tuple(drops),
        dataset_bytes=dataset_bytes,
        cache_bytes=int(dataset_bytes * CACHE_SHARE),
        removals=tuple(
            removed(built_in(request.out), _known_recordings(items, marks), (item.uri for item in items))
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """What the dataset holds, to find out what would not be touched."""

    request: Request
    config: str
    published: Mapping[str, PublishedRecording]
    reviews: Mapping[str, Texts]

    @classmethod
    def read(cls, request: Request, kept: state.State) -> _Known:
        from corpus.pipeline.memory import Memory
        from corpus.pipeline.stamp import stamp_now

        stamp = stamp_now(kept.folder, request)
        published = Memory.read(kept.folder, stamp).changed()
        return cls(
            request=request,
            config=stamp.config,
            published=published.by_recording,
            reviews=texts_by_recording(request.out),
        )

    def holds(self, identity: Identity) -> bool:
        """Whether a build would make the same clips of the recording, if it stays in its split."""
        one = self.published.get(identity.recording)
        if one is None:
            return False
        job = RecordingJob(
            identity=identity,
            settings=self.request.settings,
            reviews=self.reviews.get(identity.recording, ()),
            names=one.names,
            split=one.split,
            config=self.config,
            cache_root=Path(),
            scratch="",
        )
        return job.key == one.key


def _known_recordings(items: Sequence[Item], marks: dict[str, FileMark]) -> set[str]:
    """Content hashes of the items whose files have been hashed before."""
    hashes = set()
    for item in items:
        known = [marks[file.place].sha256 for file in item.files if file.place in marks]
        if len(known) == len(item.files):
            hashes.add(recording_hash(item.files, known))
    return hashes


def _planned(
    item: Item,
    request: Request,
    cache: Cache,
    marks: dict[str, FileMark],
    held: dict[str, str],
    known: _Known | None,
    listing: Listing,
) -> _PlannedItem:
    from corpus.ingest.probe import probe_media

    if any(is_url(file.place) for file in item.files):
        return _PlannedItem(uri=item.uri, action="build", duration_us=0, bytes=0, reason="to be fetched")
    try:
        size = sum(os.path.getsize(file.place) for file in item.files)
    except OSError as error:
        reason = f"the file cannot be reached: {error.strerror}"
        return _PlannedItem(uri=item.uri, action="fault", duration_us=0, bytes=0, reason=reason)
    identity = identified_before(item, marks, listing)
    if identity is not None and known is not None and known.holds(identity):
        return _PlannedItem(uri=item.uri, action="unchanged", duration_us=0, bytes=size)
    try:
        duration_us = max(probe_media(Path(file.place)).duration_us or 0 for file in item.files)
    except CorpusError as error:
        return _PlannedItem(uri=item.uri, action="fault", duration_us=0, bytes=size, reason=str(error))
    if item.uri in held:
        return _PlannedItem(
            uri=item.uri, action="skip", duration_us=duration_us, bytes=size, reason=held[item.uri]
        )
    decoded = identity is not None and cache.has("decode", decode_key(identity, request.settings))
    action: Literal["build", "decoded"] = "decoded" if decoded else "build"
    return _PlannedItem(uri=item.uri, action=action, duration_us=duration_us, bytes=size)
