"""The documents of a dataset in their endless order: epoch after epoch, each a permutation.

A document is a clip and one of its speakers. Place `d` of a dataset's endless order is place `d % n` of
epoch `d // n`; which document is there is a function of (seed, d) alone. Several datasets take turns
(mixture.py).
"""

from __future__ import annotations

import copy
import dataclasses
import threading
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from corpus.schemas.arrays import Int64Array, UInt8Array
from corpus.schemas.codec import digest
from corpus.schemas.errors import DatasetError, SettingsError
from corpus.schemas.latest import Latest
from corpus.shards.read import Clips, open_clips, read_columns
from corpus.trainer.config import DataConfig, ModelConfig, RunConfig
from corpus.trainer.data.clip_head import check_head, read_head
from corpus.trainer.data.hearing import ClipsByPlace, Heard
from corpus.trainer.data.layout import Turns
from corpus.trainer.data.mixture import parts_of, source_of
from corpus.trainer.data.sequence import BYTE_0
from corpus.trainer.data.shuffle import Shuffle
from corpus.trainer.data.tokenizer_named import tokenizer_named
from corpus.trainer.data.views import View, decode_pictures, heard, plan_view, read_turns

_KEPT_VIEWS = 256
_KEPT_SOUNDS = 16
"""Documents whose heard sound is kept, so that one that fills several rows is computed only once."""
_KEPT_PICTURES = 4
"""Clips whose pictures are kept for their other speakers; 29 MB each at one picture of 320 x 200 a window."""


class _Source:
    """One dataset's clips of a split, or those that meet a condition, in epochs of their own."""

    def __init__(self, path: Path | str, data: DataConfig, weights: Mapping[str, int]) -> None:
        self._data = data
        self.clips = open_clips(path, split=data.split, check=data.check_shards)
        self.path = self.clips.path
        self.digest = self.clips.digest
        speakers, pictures = self.clips.speakers, self.clips.pictures
        self.chosen = np.arange(len(speakers))
        if data.where:
            from corpus.trainer.data.where import places_where

            self.chosen = places_where(self.clips, data.where)
            keys = self.clips.keys()
            self.digest = digest([self.digest, [keys[place] for place in self.chosen]])
        # A clip with wanted cues is listed several times, each time with its own place in the epoch's order.
        if max(weights.values(), default=1) > 1:
            from corpus.trainer.data.cue_weights import cue_weights

            self.chosen = np.repeat(self.chosen, cue_weights(self.clips, self.chosen, weights))
        self._ends = np.cumsum(speakers[self.chosen])
        self.with_pictures = self.chosen[pictures[self.chosen] > 0]
        """Clips with pictures."""
        self._order: Latest[int, tuple[Int64Array, Int64Array]] = Latest(2)

    def __len__(self) -> int:
        """Documents in an epoch."""
        return int(self._ends[-1]) if len(self._ends) else 0

    def document(self, place: int) -> tuple[int, int]:
        """The clip and the channel at a place of the source's own endless order."""
        epoch, inside = divmod(place, len(self))
        if self._data.together:
            return self._together(epoch, inside)
        # A permutation by place, not a shuffled list: nothing to store, and any place can be resumed from.
        index = Shuffle(len(self), self._data.seed, epoch)[inside]
        number = int(np.searchsorted(self._ends, index, side="right"))
        channel = index - (int(self._ends[number - 1]) if number else 0)
        return int(self.chosen[number]), channel

    def _together(self, epoch: int, inside: int) -> tuple[int, int]:
        """The document at a place of an epoch in which a clip's speakers follow one another."""
        order, ends = self._order.get(epoch, lambda: self._clips_in_order(epoch))
        number = int(np.searchsorted(ends, inside, side="right"))
        return int(self.chosen[order[number]]), inside - (int(ends[number - 1]) if number else 0)

    def _clips_in_order(self, epoch: int) -> tuple[Int64Array, Int64Array]:
        """The clips' numbers in the order of an epoch, and the running count of their documents."""
        shuffle = Shuffle(len(self._ends), self._data.seed, epoch)
        order = np.fromiter((shuffle[at] for at in range(len(shuffle))), np.int64, len(shuffle))
        return order, np.cumsum(np.diff(self._ends, prepend=0)[order])

    def check(self, model: ModelConfig, data: DataConfig) -> None:
        """Check one clip for all of them, so that a mismatch is reported before training starts."""
        if not len(self):
            rows = read_columns(self.clips.index_file, None, ("key",))
            splits = ", ".join(sorted(set(rows["split"].to_pylist())))
            todo = f"choose another with data.split (it has {splits or 'none'}), or build more recordings"
            raise DatasetError(
                f"no clips with a speaker in split {data.split!r}", where=str(self.path), todo=todo
            )
        sees = data.pictures and len(self.with_pictures) > 0
        sample = int(self.with_pictures[0] if sees else self.chosen[0])
        check_head(read_head(self.clips[sample]), model, data)


class Documents:
    """Views of a split by their place in the endless order. Threads may share it."""

    def __init__(self, config: RunConfig, *, weighed: bool = False) -> None:
        """`weighed`: whether clips repeat as `data.cue_weight` says, as in training but not in scoring."""
        data = config.data
        parts = parts_of(data.data)
        weights = data.cue_weight if weighed else {}
        self._sources = [_Source(part.path, data, weights) for part in parts]
        self._shares = [part.share for part in parts]
        self.digest = self._sources[0].digest
        if len(parts) > 1:
            whole = zip(self._sources, self._shares, strict=True)
            self.digest = digest([[source.digest, str(share)] for source, share in whole])
        sees = config.model.patches > 0 and any(len(source.with_pictures) for source in self._sources)
        data = dataclasses.replace(data, pictures=data.pictures and sees)
        self.config = dataclasses.replace(config, data=data)
        """With `data.pictures` off if no clip has any, so that batches reserve no space for them."""
        self._tokenizer = tokenizer_named(data.tokenizer)
        needed = BYTE_0 + self._tokenizer.size
        if config.model.vocab < needed:
            what = "bytes" if data.tokenizer == "bytes" else f"the {self._tokenizer.size} tokens of text"
            raise SettingsError(
                f"a vocabulary of {config.model.vocab} cannot hold {what}",
                todo=f"set model.vocab >= {needed}",
            )
        if config.model.text_tokens != self._tokenizer.size:
            raise SettingsError(
                f"model.text_tokens is {config.model.text_tokens}, the tokenizer has {self._tokenizer.size}",
                todo="let data.tokenizer=FILE set it",
            )
        for source in self._sources:
            source.check(config.model, data)
        self._views: Latest[int, View] = Latest(_KEPT_VIEWS)
        self._sounds: Latest[int, Heard] = Latest(_KEPT_SOUNDS)
        self._pictures: Latest[tuple[int, int], UInt8Array] = Latest(_KEPT_PICTURES)
        self._thread = threading.local()

    def __len__(self) -> int:
        """Documents in an epoch; for a mixture the sum over its datasets."""
        return sum(len(source) for source in self._sources)

    @property
    def clips(self) -> Clips:
        """The clips of the first, or only, dataset."""
        return self._sources[0].clips

    def view(self, document: int) -> View:
        """The view at a place of the endless order."""
        # Plans are small and asked for twice, for the rows of all ranks and for this rank's content.
        return self._views.get(document, lambda: self._plan(document))

    def sizes(self, document: int) -> Int64Array:
        """Positions of each micro-turn of a document."""
        return self.view(document).sizes_N

    def pictures(self, document: int, start: int, stop: int) -> int:
        """The number of pictures in micro-turns `[start, stop)` of a document."""
        return int(self.view(document).pictures_N[start:stop].sum())

    def turns(self, document: int, start: int, stop: int, room: UInt8Array | None = None) -> Turns:
        """Everything in micro-turns `[start, stop)` of a document; pixels go into `room`, if given."""
        number, clips, epoch = self._whence(document)
        view, data = self.view(document), self.config.data
        sound = self._sounds.get(
            document, lambda: heard(clips, view, data.hears, seed=data.seed, epoch=epoch)
        )
        model, decoded = self.config.model, None
        if data.together and view.pictures_N.any():
            # Kept by source and clip: the other speakers use what the first speaker's document decoded.
            decoded = self._pictures.get((number, view.place), lambda: decode_pictures(clips, view, model))
        turns = read_turns(clips, view, sound, start, stop, model, room, decoded)
        if not model.cues and not self.config.loss.answers:
            return turns
        from corpus.trainer.data.cues import with_cues

        return with_cues(turns, clips[view.place], view.channel, start, stop, self.config)

    def _plan(self, document: int) -> View:
        number, place = source_of(document, self._shares)
        clip, channel = self._sources[number].document(place)
        model, data = self.config.model, self.config.data
        return plan_view(self._own_clips(number), clip, channel, model, data, self._tokenizer)

    def _whence(self, document: int) -> tuple[int, ClipsByPlace, int]:
        """A document's source, the clips to read it from, and the epoch."""
        number, place = source_of(document, self._shares)
        return number, self._own_clips(number), place // len(self._sources[number])

    def _own_clips(self, number: int) -> Clips:
        """This thread's own reader of a source: its list of open files is not thread-safe."""
        readers: dict[int, Clips] = self._thread.__dict__.setdefault("readers", {})
        if number not in readers:
            readers[number] = copy.copy(self._sources[number].clips)
        return readers[number]
