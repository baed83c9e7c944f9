"""A build's recordings, before they are written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from corpus.pipeline.memory import Memory
    from corpus.pipeline.published import PublishedRecording
    from corpus.pipeline.record import Recorded, RecordingJob
    from corpus.shards.old import Old


@dataclass(slots=True, kw_only=True)
class Recordings:
    """The examined recordings that go into the dataset."""

    memory: Memory
    """The rest of the dataset: the bundles that stand."""
    old: Old | None
    """The dataset in OUT, if the memory describes it."""
    doubted: frozenset[str]
    """Paths of outputs that may be damaged."""
    unchanged: dict[str, PublishedRecording] = field(default_factory=dict)
    """Recordings that OUT already holds unchanged, by content hash."""
    others: list[RecordingJob] = field(default_factory=list)
    """The jobs for all others."""
    recorded: list[tuple[RecordingJob, Recorded]] = field(default_factory=list)
    """The others that were built, now or by an earlier build."""

    def made(self) -> Sequence[PublishedRecording]:
        """The new and changed ones, as they will be published."""
        from corpus.pipeline.record import published_as

        return [published_as(job, done) for job, done in self.recorded]

    def published(self) -> Sequence[PublishedRecording]:
        """All examined recordings, as they will be published."""
        return [*self.unchanged.values(), *self.made()]
