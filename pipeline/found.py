"""A build's recordings, before they are written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from corpus.pipeline.memory import Memory
    from corpus.pipeline.published import PublishedRecording
    from corpus.pipeline.record import Recorded, RecordingJob
    from corpus.shards.old import Intact


@dataclass(slots=True, kw_only=True)
class Recordings:
    """The examined recordings that go into the dataset."""

    memory: Memory
    """The rest of the dataset: the bundles that stand."""
    old: Intact | None
    """The dataset in OUT, if the memory describes it."""
    doubted: frozenset[str]
    """Paths of outputs that may be damaged."""
    unchanged: dict[str, PublishedRecording] = field(default_factory=dict)
    """Recordings that OUT already holds unchanged, by content hash."""
    others: list[RecordingJob] = field(default_factory=list)
    """The jobs for all others."""
    recorded: list[tuple[RecordingJob, Recorded]] = field(default_factory=list)
    """The others that were built, now or by an earlier build."""

    def segments(self) -> Iterator[tuple[str, str, str]]:
        """Split, recording and digest of the clips of those that were built."""
        for job, done in self.recorded:
            if done.cut is not None and done.cut.segment is not None:
                yield job.split, job.identity.recording, done.cut.segment

    def published(self) -> Callable[[str], PublishedRecording | None]:
        """What finds an examined recording by its uri, as it will be published."""
        from corpus.pipeline.record import published_as

        known = {one.uri: one for one in self.unchanged.values()}
        made = {job.identity.item.uri: (job, done) for job, done in self.recorded}

        def find(uri: str) -> PublishedRecording | None:
            return published_as(*made[uri]) if uri in made else known.get(uri)

        return find
