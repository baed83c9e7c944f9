"""The last phase of a build: shards, then catalog and report. Unchanged recordings are not read."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from corpus.pipeline.cache import Cache
from corpus.pipeline.found import Recordings
from corpus.pipeline.memory import segment_id_of
from corpus.pipeline.published import announce_catalog
from corpus.pipeline.versions import all_versions
from corpus.pipeline.views import Views, ViewsJob, put_views, views_folder
from corpus.report.catalog import RunFacts
from corpus.schemas.codec import to_json
from corpus.schemas.dataset import Manifest
from corpus.schemas.drops import Drop, Drops
from corpus.schemas.row_file import packed
from corpus.schemas.settings import Settings

if TYPE_CHECKING:
    from corpus.shards.shard_task import ShardWriter


_PACKED_DROPS = 4096
"""Packed together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Makers:
    """Who makes what is published."""

    shards: ShardWriter
    views: Callable[[ViewsJob], Views]
    """Runs the job that makes catalog and report."""


def publish(
    *,
    out: Path,
    state: Path,
    cache: Cache,
    found: Recordings,
    drops: Sequence[Drop],
    settings: Settings,
    config: str,
    makers: Makers,
) -> tuple[Manifest, Views]:
    """Write the dataset at `out`; shards that hold the same clips are not touched."""
    from corpus.pipeline.segments import CutSegments
    from corpus.shards.write import Stays, write_dataset

    # Changed recordings count as gone too: their old rows must leave before the new ones enter.
    gone = tuple(
        one.recording for one in found.memory.changed().recordings if one.recording not in found.unchanged
    )
    stays = None
    if found.old is not None:
        ids = [found.memory.segments(), *map(segment_id_of, found.unchanged.values())]
        stays = Stays(gone=gone, segments=b"".join(ids))
    # Shards first: catalog and report describe what is there.
    manifest = write_dataset(
        out,
        CutSegments(cache.root.absolute(), found.segments()),
        settings=settings,
        config=config,
        doubted=found.doubted,
        stays=stays,
        writer=makers.shards,
    )
    changes = len(found.memory) > 0
    job = ViewsJob(
        folder=views_folder(out, cache, with_catalog=changes).absolute(),
        pieces=_pieces(found),
        gone=gone if changes else None,
        drops=(*_packed(drops), *found.memory.drops()),
        run=run_facts(manifest, settings),
        cache_root=cache.root.absolute(),
        scratch=cache.scratch.name,
    )
    try:
        views = makers.views(job)
        put_views(job.folder, out, lambda file: announce_catalog(state, views.catalog_sha256, file))
    finally:
        shutil.rmtree(job.folder, ignore_errors=True)
    return manifest, views


def _pieces(found: Recordings) -> bytes:
    """Digests of every new or changed recording's rows."""
    from corpus.pipeline.record import rows_key

    digests = bytearray()
    for one in found.made:
        digests += bytes.fromhex(rows_key(one.job))
    return bytes(digests)


def _packed(drops: Sequence[Drop]) -> Iterator[bytes]:
    for first in range(0, len(drops), _PACKED_DROPS):
        yield packed(Drops(drops=tuple(drops[first : first + _PACKED_DROPS])))


def run_facts(manifest: Manifest, settings: Settings) -> RunFacts:
    """What the catalog says of the run that made the dataset."""
    return RunFacts(
        config=manifest.config,
        settings=settings,
        settings_json=manifest.settings,
        versions_json=to_json(all_versions()),
        recordings=manifest.recordings,
        clips=manifest.clips,
        windows=manifest.windows,
    )
