"""The last phase of a build: shards, then what people look at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from pathlib import Path
from typing import TYPE_CHECKING

from corpus.pipeline.cache import Cache
from corpus.pipeline.versions import all_versions
from corpus.report.catalog import RunFacts, write_catalog
from corpus.report.catalog_rows import CatalogEntry
from corpus.report.page import write_report
from corpus.report.stats import dataset_stats
from corpus.schemas.codec import to_json
from corpus.schemas.dataset import Manifest
from corpus.schemas.drops import Drop
from corpus.schemas.settings import Settings

if TYPE_CHECKING:
    from corpus.pipeline.identify import Identity
    from corpus.pipeline.record import Recorded


def publish(
    *,
    out: Path,
    cache: Cache,
    recorded: Sequence[tuple[Identity, Recorded]],
    drops: Sequence[Drop],
    settings: Settings,
    config: str,
    doubted: Set[str],
) -> Manifest:
    """Bring the dataset at `out` to what was cut; shards that hold the same clips are not touched."""
    from corpus.shards.plan import SegmentRef
    from corpus.shards.write import write_dataset

    segments = [
        SegmentRef(
            folder=cache.folder("cut", cut.segment),
            recording=cut.recording,
            split=cut.split,
            digest=cut.segment,
        )
        for cut in (done.cut for _, done in recorded)
        if cut is not None and cut.segment is not None
    ]
    manifest = write_dataset(out, segments, settings=settings, config=config, doubted=doubted)
    write_catalog(out, _entries(recorded, cache), drops, _facts(manifest, settings))
    write_report(out, dataset_stats(out))
    return manifest


def _entries(recorded: Sequence[tuple[Identity, Recorded]], cache: Cache) -> Iterator[CatalogEntry]:
    """Every recording that has clips, read from the cache one at a time."""
    from corpus.pipeline.annotate import conversation_of
    from corpus.pipeline.cutting import recording_of
    from corpus.pipeline.stages import decoded_of

    for identity, outcome in recorded:
        done, cut = outcome.annotated, outcome.cut
        if cut is None or cut.segment is None:
            continue
        conversation = conversation_of(done, cache)
        decoded = decoded_of(identity, cache.need("decode", str(done.decode), "decoded.json"))
        yield CatalogEntry(
            recording=recording_of(identity, decoded, conversation),
            conversation=conversation,
            split=cut.split,
            sidecars=done.sidecars,
        )


def _facts(manifest: Manifest, settings: Settings) -> RunFacts:
    return RunFacts(
        config=manifest.config,
        settings=settings,
        settings_json=manifest.settings,
        versions_json=to_json(all_versions()),
        recordings=manifest.recordings,
        clips=manifest.clips,
        windows=manifest.windows,
    )
