"""What a build has found of its recordings before it writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from corpus.pipeline.published import PublishedRecording
    from corpus.pipeline.record import Recorded, RecordingJob


@dataclass(slots=True, kw_only=True)
class Recordings:
    """The recordings that go into the dataset."""

    doubted: frozenset[str]
    """Paths of outputs that may be damaged."""
    unchanged: dict[str, PublishedRecording] = field(default_factory=dict)
    """Those that OUT holds as they are, by content hash."""
    others: list[RecordingJob] = field(default_factory=list)
    """The jobs of all that are not."""
    recorded: list[tuple[RecordingJob, Recorded]] = field(default_factory=list)
    """Those of the others that were built, now or before."""

    def rows(self) -> Sequence[PublishedRecording]:
        """All of them as they are to be published, by content hash."""
        from corpus.pipeline.record import published_as

        rows = [*self.unchanged.values(), *(published_as(job, done) for job, done in self.recorded)]
        return sorted(rows, key=lambda one: one.recording)
