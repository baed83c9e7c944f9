"""The documents of a dataset in their endless order: epoch after epoch, each a permutation.

A document is a clip and one of its speakers. Place `d` of the endless order is place `d % n` of epoch
`d // n`; which document stands there is a function of (seed, d) alone.
"""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from corpus.schemas.clip import CLIP_FORM, ClipHead
from corpus.schemas.codec import from_json, reads
from corpus.schemas.dataset import Manifest
from corpus.schemas.errors import DatasetError, SettingsError
from corpus.shards.read import Clips, open_clips
from corpus.trainer.config import RunConfig
from corpus.trainer.data.clip_head import check_head, read_head
from corpus.trainer.data.hearing import Heard
from corpus.trainer.data.layout import Places, Turns
from corpus.trainer.data.sequence import SMALLEST_VOCAB
from corpus.trainer.data.shuffle import Shuffle
from corpus.trainer.data.views import View, heard, plan_view, read_turns

T = TypeVar("T")

_KEPT_VIEWS = 256
_KEPT_SOUNDS = 16
"""Documents whose heard sound is kept: one that fills several rows is computed once."""


class Documents:
    """Views of a split by their place in the endless order. Threads may share it."""

    def __init__(self, config: RunConfig) -> None:
        self.path, data = Path(config.data.data), config.data
        self.digest = _digest(self.path)
        self.clips = open_clips(self.path, split=data.split)
        speakers, pictures = _columns(self.path, data.split)
        self._ends = np.cumsum(speakers)
        sees = data.pictures and config.model.patches > 0 and bool(pictures.any())
        self.config = dataclasses.replace(config, data=dataclasses.replace(data, pictures=sees))
        """With `data.pictures` off where there is none to see: batches then hold no room for them."""
        self._check(int(pictures.argmax()) if sees else 0)
        self._views: _Kept[View] = _Kept(_KEPT_VIEWS)
        self._sounds: _Kept[Heard] = _Kept(_KEPT_SOUNDS)
        self._thread = threading.local()

    def __len__(self) -> int:
        """Documents in an epoch."""
        return int(self._ends[-1]) if len(self._ends) else 0

    def view(self, document: int) -> View:
        """The view at a place of the endless order."""
        return self._views.get(document, lambda: self._plan(document))

    def sizes(self, document: int) -> Places:
        """Positions of each of its micro-turns."""
        return self.view(document).sizes_N

    def turns(self, document: int, start: int, stop: int) -> Turns:
        """Everything in micro-turns `[start, stop)` of a document."""
        clips, view = self._own_clips(), self.view(document)
        data, epoch = self.config.data, document // len(self)
        sound = self._sounds.get(
            document, lambda: heard(clips, view, data.hears, seed=data.seed, epoch=epoch)
        )
        return read_turns(clips, view, sound, start, stop, self.config.model)

    def _plan(self, document: int) -> View:
        epoch, place = divmod(document, len(self))
        index = Shuffle(len(self), self.config.data.seed, epoch)[place]
        clip = int(np.searchsorted(self._ends, index, side="right"))
        channel = index - (int(self._ends[clip - 1]) if clip else 0)
        return plan_view(self._own_clips(), clip, channel, self.config.model, self.config.data)

    def _own_clips(self) -> Clips:
        """The reader of this thread: it keeps count of the files it has open."""
        clips: Clips | None = getattr(self._thread, "clips", None)
        if clips is None:
            clips = self._thread.clips = copy.copy(self.clips)
        return clips

    def _check(self, telling: int) -> None:
        """What one clip tells of all: whatever is wrong is said before anything is read in earnest."""
        model, where = self.config.model, str(self.path)
        if model.vocab < SMALLEST_VOCAB:
            raise SettingsError(
                f"a vocabulary of {model.vocab} cannot hold bytes",
                todo=f"set model.vocab >= {SMALLEST_VOCAB}",
            )
        if not len(self):
            splits = ", ".join(_splits(self.path))
            todo = f"choose another with data.split (it has {splits or 'none'}), or build more recordings"
            raise DatasetError(
                f"no clips with a speaker in split {self.config.data.split!r}", where=where, todo=todo
            )
        check_head(read_head(self.clips[telling]), model, self.config.data)


class _Kept(Generic[T]):
    """The values asked for last, each made once however many threads ask."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._values: OrderedDict[int, T] = OrderedDict()
        self._making: dict[int, threading.Lock] = {}
        self._lock = threading.Lock()

    def get(self, key: int, make: Callable[[], T]) -> T:
        with self._lock:
            making = self._making.setdefault(key, threading.Lock())
        with making:
            with self._lock:
                if key in self._values:
                    self._values.move_to_end(key)
                    return self._values[key]
            value = make()
            with self._lock:
                self._values[key] = value
                if len(self._values) > self._most:
                    self._making.pop(self._values.popitem(last=False)[0], None)
            return value


def _digest(path: Path) -> str:
    """Of the manifest, which holds the sha256 of every shard."""
    file = path / "manifest.json"
    try:
        text = file.read_bytes()
    except OSError as error:
        what, todo = (
            "holds no finished dataset: no manifest.json",
            "name a folder that corpus build has finished",
        )
        raise DatasetError(what, where=str(path), todo=todo) from error
    manifest = from_json(Manifest, text, where=str(file))
    if not reads(ClipHead, manifest.clip_schema):
        what = f"its clips are {manifest.clip_schema}, this version reads {CLIP_FORM}"
        raise DatasetError(what, where=str(path), todo="build the dataset again with this version")
    return hashlib.sha256(text).hexdigest()


def _splits(path: Path) -> list[str]:
    """Those that hold a clip."""
    import pyarrow.parquet as pq

    return sorted(set(pq.read_table(path / "clips.parquet", columns=["split"])["split"].to_pylist()))


def _columns(path: Path, split: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Speakers and pictures of each clip, in the order of `open_clips`."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    table = pq.read_table(path / "clips.parquet", columns=["split", "speakers", "pictures"])
    chosen = table.filter(pc.equal(table["split"], split))
    speakers = pc.list_value_length(chosen["speakers"]).to_numpy()
    return np.asarray(speakers, np.int64), np.asarray(chosen["pictures"].to_numpy(), np.int64)
