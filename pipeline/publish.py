"""The last phase of a build: shards, then catalog and report. Unchanged recordings are not read."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from corpus.pipeline.cache import Cache
from corpus.pipeline.found import Recordings
from corpus.pipeline.published import Published, announce_catalog, save_published, sha256_or_none
from corpus.pipeline.versions import all_versions
from corpus.pipeline.views import Views, ViewsJob, put_views, views_folder
from corpus.report.catalog import RunFacts
from corpus.schemas.codec import to_json
from corpus.schemas.dataset import MANIFEST_FILE, Manifest
from corpus.schemas.drops import Drop
from corpus.schemas.settings import Settings

if TYPE_CHECKING:
    from corpus.shards.shard_task import ShardWriter


def publish(
    *,
    out: Path,
    state: Path,
    cache: Cache,
    found: Recordings,
    before: Published,
    drops: Sequence[Drop],
    settings: Settings,
    config: str,
    writer: ShardWriter,
    run_views: Callable[[ViewsJob], Views],
) -> tuple[Manifest, Views]:
    """Write the dataset at `out`; shards that hold the same clips are not touched.

    `run_views` runs the job that makes catalog and report.
    """
    from corpus.shards.plan import SegmentRef
    from corpus.shards.write import write_dataset

    rows = found.rows()
    segments = [
        SegmentRef(
            folder=cache.folder("cut", one.segment),
            recording=one.recording,
            split=one.split,
            digest=one.segment,
        )
        for one in rows
    ]
    # Shards first: catalog and report describe what is there.
    manifest = write_dataset(
        out,
        segments,
        settings=settings,
        config=config,
        unchanged=found.unchanged.keys(),
        doubted=found.doubted,
        writer=writer,
        old=found.old,
    )
    # Changed recordings count as gone too: their old rows must leave the catalog before the new ones enter.
    gone = tuple(one.recording for one in before.recordings if one.recording not in found.unchanged)
    changes = bool(before.catalog_sha256)
    job = ViewsJob(
        folder=views_folder(out, cache, with_catalog=changes).absolute(),
        pieces=tuple(_pieces(found)),
        gone=gone if changes else None,
        drops=tuple(drops),
        run=run_facts(manifest, settings),
        cache_root=cache.root.absolute(),
        scratch=cache.scratch.name,
    )
    try:
        views = run_views(job)
        put_views(job.folder, out, lambda file: announce_catalog(state, views.catalog_sha256, file))
    finally:
        shutil.rmtree(job.folder, ignore_errors=True)
    # Last: it vouches for a manifest and a catalog that are complete.
    save_published(
        state,
        Published(
            config=config,
            manifest_sha256=sha256_or_none(out / MANIFEST_FILE),
            catalog_sha256=views.catalog_sha256,
            recordings=tuple(rows),
        ),
    )
    return manifest, views


def _pieces(found: Recordings) -> Iterator[str]:
    """Digests of every new or changed recording's rows."""
    from corpus.pipeline.record import rows_key

    return (rows_key(job) for job, outcome in found.recorded if outcome.built)


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
