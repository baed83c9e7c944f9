"""The last phase of a build: shards, then what people look at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from corpus.pipeline.cache import Cache
from corpus.pipeline.progress import Talk
from corpus.schemas.dataset import Manifest
from corpus.schemas.drops import Drop
from corpus.schemas.settings import Settings

if TYPE_CHECKING:
    from corpus.pipeline.annotate import Annotated
    from corpus.pipeline.cutting import Cut
    from corpus.pipeline.identify import Identity


def publish(
    *,
    out: Path,
    cache: Cache,
    annotated: Sequence[tuple[Identity, Annotated]],
    cuts: Sequence[Cut],
    drops: Sequence[Drop],
    settings: Settings,
    config: str,
    talk: Talk,
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
        for cut in cuts
        if cut.segment is not None
    ]
    return write_dataset(out, segments, settings=settings, config=config)
