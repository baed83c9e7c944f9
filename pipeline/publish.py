"""The last phase of a build: shards, then catalog and report. Unchanged recordings are not read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from corpus.pipeline.cache import Cache
from corpus.pipeline.found import Recordings
from corpus.pipeline.published import (
    Published,
    announce_catalog,
    save_published,
    sha256_or_none,
)
from corpus.pipeline.versions import all_versions
from corpus.report.catalog import CATALOG_FILE, RunFacts, open_catalog, write_catalog
from corpus.report.page import write_report
from corpus.report.poor import poor
from corpus.report.stats import dataset_stats
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
) -> Manifest:
    """Write the dataset at `out`; shards that hold the same clips are not touched."""
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
    )
    # Changed recordings count as gone too: their old rows must leave the catalog before the new ones enter.
    gone = [one.recording for one in before.recordings if one.recording not in found.unchanged]
    write_catalog(
        out,
        _pieces(found, cache),
        drops,
        run_facts(manifest, settings),
        instead_of=gone if before.catalog_sha256 else None,
        announce=lambda sha256: announce_catalog(state, sha256),
    )
    write_report(out, dataset_stats(out))
    # Last: it vouches for a manifest and a catalog that are complete.
    save_published(
        state,
        Published(
            config=config,
            manifest_sha256=sha256_or_none(out / MANIFEST_FILE),
            catalog_sha256=sha256_or_none(out / CATALOG_FILE),
            recordings=tuple(rows),
        ),
    )
    return manifest


def poor_lines(out: Path) -> tuple[str, ...]:
    """What is poor in the dataset, a line each."""
    with open_catalog(out) as db:
        return tuple(one.line for one in poor(db))


def _pieces(found: Recordings, cache: Cache) -> Iterator[Path]:
    """The rows of every new or changed recording: folders of the cache, each checked when it is its turn."""
    from corpus.pipeline.record import ROWS_STAGE, rows_key

    for job, outcome in found.recorded:
        if outcome.built:
            yield cache.need(ROWS_STAGE, rows_key(job)).folder


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
