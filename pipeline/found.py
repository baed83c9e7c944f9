"""A build's recordings, before they are written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from corpus.pipeline.memory import Memory
    from corpus.pipeline.published import PublishedRecording
    from corpus.pipeline.record import Recorded, RecordingJob
    from corpus.schemas.drops import Drop
    from corpus.shards.old import Intact


class Made(NamedTuple):
    """A recording that was built: what is left of its outcome, of which a build may hold a million."""

    job: RecordingJob
    segment: str
    """Digest of its cut."""
    drops: tuple[Drop, ...]

    @staticmethod
    def of(job: RecordingJob, done: Recorded) -> Made:
        if done.cut is None or done.cut.segment is None:
            raise AssertionError(f"{job.identity.item.uri} was not built")
        return Made(job, done.cut.segment, done.drops)

    @property
    def published(self) -> PublishedRecording:
        """What a later build needs in order to recognise this recording."""
        from corpus.pipeline.published import PublishedRecording, annotations_of

        identity = self.job.identity
        return PublishedRecording(
            recording=identity.recording,
            uri=identity.item.uri,
            key=self.job.key,
            split=self.job.split,
            segment=self.segment,
            annotations=annotations_of(identity),
            names=self.job.names,
            drops=self.drops,
        )


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
    made: list[Made] = field(default_factory=list)
    """The others that were built, now or by an earlier build."""

    def segments(self) -> Iterator[tuple[str, str, str]]:
        """Split, recording and digest of the clips of those that were built."""
        for one in self.made:
            yield one.job.split, one.job.identity.recording, one.segment

    def published(self) -> Callable[[str], PublishedRecording | None]:
        """What finds an examined recording by its uri, as it will be published."""
        known = {one.uri: one for one in self.unchanged.values()}
        made = {one.job.identity.item.uri: one for one in self.made}

        def find(uri: str) -> PublishedRecording | None:
            return made[uri].published if uri in made else known.get(uri)

        return find
