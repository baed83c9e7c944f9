"""Documents in the order of a stream: shard after shard, each by one rank, through webdataset.

    shards in random order -> this rank's -> clips -> (clip, speaker) from a buffer -> documents

A document is the same as in the order by place, including the sound before its clip; only the order differs.
Documents are numbered for each rank separately. What was read is kept until it is released.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from corpus.schemas.clip import MEMBERS, parse_clip_key
from corpus.schemas.codec import digest
from corpus.schemas.errors import DatasetError, SettingsError
from corpus.shards.read import Clip
from corpus.shards.stream import stream_clips
from corpus.trainer.config import RunConfig
from corpus.trainer.data.documents import Documents
from corpus.trainer.data.hearing import ClipsByPlace
from corpus.trainer.data.mixture import parts_of
from corpus.trainer.data.views import View, plan_view


@dataclass(frozen=True, slots=True)
class _Read:
    """A clip that has been read, and one of its speakers."""

    place: int
    channel: int
    clips: Mapping[int, Clip]
    """The clip, and the previous one if they are adjacent."""


class StreamDocuments(Documents):
    """This rank's documents, counted from 0 since `begin`. One thread plans; several may read the planned."""

    def __init__(self, config: RunConfig, rank: int, world_size: int) -> None:
        if len(parts_of(config.data.data)) > 1 or config.data.together:
            todo = "give one dataset without data.together, or data.reader=map"
            raise SettingsError("a stream is of one dataset", where="data.reader", todo=todo)
        super().__init__(config, weighed=True)
        (self._source,) = self._sources
        self._node = (rank, world_size)
        self._check_shards(world_size)
        self._place_of = {key: place for place, key in enumerate(self._source.clips.keys())}
        self._times = np.bincount(self._source.chosen, minlength=len(self._place_of))
        self._planned: dict[int, tuple[_Read, int, View]] = {}
        self._count = 0
        self.begin(0)

    def begin(self, number: int) -> None:
        """Start the stream of a number, each in its own order, and forget what was planned before."""
        self._planned.clear()
        self._count = 0
        self._drawn = self._endless(int(digest([self.config.data.seed, number])[:12], 16))

    def release(self, document: int) -> None:
        """Forget the documents before this one."""
        for old in [number for number in self._planned if number < document]:
            del self._planned[old]

    def view(self, document: int) -> View:
        model, data = self.config.model, self.config.data
        while self._count <= document:
            epoch, read = next(self._drawn)
            view = plan_view(read.clips, read.place, read.channel, model, data, self._tokenizer)
            self._planned[self._count] = read, epoch, view
            self._count += 1
        return self._planned[document][2]

    def _whence(self, document: int) -> tuple[int, ClipsByPlace, int]:
        read, epoch, _ = self._planned[document]
        return 0, read.clips, epoch

    def _endless(self, seed: int) -> Iterator[tuple[int, _Read]]:
        """Documents with the number of their pass; ranks finish a pass at different times."""
        from webdataset import detshuffle

        data = self.config.data
        clips = stream_clips(
            self._source.path, split=data.split, shuffle_shards=True, seed=seed, node=self._node
        )
        documents = clips.compose(
            self._documents_of, detshuffle(data.stream_buffer, data.stream_buffer, seed=seed)
        )
        epoch = 0
        while True:
            before = self._count
            for read in documents:
                yield epoch, read
            if self._count == before and not epoch:
                todo = "make data.where wider, build smaller shards, or set data.reader=map"
                what = f"no document for rank {self._node[0]} of {self._node[1]} in its shards"
                raise DatasetError(what, where=str(self._source.path), todo=todo)
            epoch += 1

    def _documents_of(self, clips: Iterable[Clip]) -> Iterator[_Read]:
        speakers = self._source.clips.speakers
        last: tuple[int, Clip] | None = None
        for clip in clips:
            place = self._place_of.get(clip.key)
            if place is None:
                todo = "the dataset is being rewritten or damaged: try again, then `corpus verify`"
                where = str(self._source.path)
                raise DatasetError(f"clips.parquet does not list {clip.key}", where=where, todo=todo)
            held = {place: clip}
            if self._times[place] and (before := self._before(place, clip, last)) is not None:
                held[place - 1] = before
            for _ in range(self._times[place]):
                for channel in range(int(speakers[place])):
                    yield _Read(place, channel, held)
            last = place, clip

    def _before(self, place: int, clip: Clip, last: tuple[int, Clip] | None) -> Clip | None:
        """The previous clip of the same recording: the one read last, except at the start of a shard."""
        if last is not None and last[0] == place - 1:
            return last[1]
        if place == 0:
            return None
        before = self._source.clips[place - 1]
        if parse_clip_key(before.key)[0] != parse_clip_key(clip.key)[0]:
            return None
        return Clip.of_members(before.key, [bytes(before.member(name)) for name in MEMBERS])

    def _check_shards(self, world_size: int) -> None:
        """Require a shard for every rank."""
        shards = self._source.clips.columns("shard")["shard"].unique()
        if len(shards) < world_size:
            raise DatasetError(
                f"{len(shards)} shards for {world_size} ranks: a stream gives each rank shards of its own",
                where=str(self._source.path),
                todo="build it with smaller shards (shards.shard_bytes), or set data.reader=map",
            )
