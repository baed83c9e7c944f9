"""A build's recordings, before they are written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from corpus.pipeline.published import PublishedRecording
    from corpus.pipeline.record import Recorded, RecordingJob
    from corpus.shards.old import Old


@dataclass(slots=True, kw_only=True)
class Recordings:
    """The recordings that go into the dataset."""

    doubted: frozenset[str]
    """Paths of outputs that may be damaged."""
    old: Old | None = None
    """The dataset that stands in OUT, where it was read."""
    unchanged: dict[str, PublishedRecording] = field(default_factory=dict)
    """Recordings that OUT already holds unchanged, by content hash."""
    others: list[RecordingJob] = field(default_factory=list)
    """The jobs for all others."""
    recorded: list[tuple[RecordingJob, Recorded]] = field(default_factory=list)
    """The others that were built, now or by an earlier build."""

    def rows(self) -> Sequence[PublishedRecording]:
        """All recordings as they will be published, by content hash."""
        from corpus.pipeline.record import published_as

        rows = [*self.unchanged.values(), *(published_as(job, done) for job, done in self.recorded)]
        return sorted(rows, key=lambda one: one.recording)
