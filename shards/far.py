"""Clips of a dataset at a URL: each is a range of bytes, checked against its digest on arrival.

Clips read in sequence come in blocks, the next ones requested before they are needed; clips read at random
come one by one. Downloaded clips are kept on this machine (`near.py`).
"""

from __future__ import annotations

import hashlib
import threading
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from corpus.schemas.arrays import Int64Array
from corpus.schemas.errors import DatasetError
from corpus.schemas.files import is_inside_name
from corpus.schemas.store import Store
from corpus.shards.near import NearClips

if TYPE_CHECKING:
    import pyarrow as pa

BLOCK_BYTES = 8 << 20
_BLOCKS_AHEAD = 3
_KEPT_BLOCKS = 2 + _BLOCKS_AHEAD


class FarClips:
    """The bytes of clips by their position in the index. Thread-safe."""

    def __init__(self, store: Store, table: pa.Table, near: NearClips) -> None:
        """`table` holds shard, offset, size and sha256 of every clip."""
        self._store = store
        self._near = near
        self._shards = table["shard"].combine_chunks().dictionary_encode()
        for name in self._shards.dictionary.to_pylist():
            if not is_inside_name(name):
                raise DatasetError(
                    f"clips.parquet names {name[:100]!r}, which is not a path inside the dataset"
                )
        self._offsets = np.asarray(table["offset"].to_numpy(), np.int64)
        self._sizes = np.asarray(table["size"].to_numpy(), np.int64)
        self._sha256s = table["sha256"].combine_chunks()
        self._firsts = _firsts_of_blocks(self._shards, self._offsets, self._sizes)
        self._last = -2
        self._begin()

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._blocks: dict[int, Future[dict[int, bytes]]] = {}
        self._pool: ThreadPoolExecutor | None = None

    def __getstate__(self) -> dict[str, Any]:
        left = ("_lock", "_blocks", "_pool")
        return {name: value for name, value in self.__dict__.items() if name not in left}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._begin()

    def offset(self, place: int) -> int:
        """Where the clip begins in its shard."""
        return int(self._offsets[place])

    def size(self, place: int) -> int:
        """Its size in bytes."""
        return int(self._sizes[place])

    def read(self, place: int) -> bytes:
        """The clip's bytes.

        Raises:
            StorageError: the store cannot be read.
            DatasetError: the bytes are not those of the clip in the index.
        """
        number = int(np.searchsorted(self._firsts, place, side="right")) - 1
        with self._lock:
            follows = place == self._last + 1 or number in self._blocks
            self._last = place
        if follows:
            return self._in_order(number, place)
        return self._alone(place)

    def _alone(self, place: int) -> bytes:
        kept = self._near.get(self._sha256(place))
        return self._fetched(place, place + 1)[place] if kept is None else kept

    def _in_order(self, number: int, place: int) -> bytes:
        """The clip from its block, which is downloaded whole; the next blocks are downloaded meanwhile."""
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(_BLOCKS_AHEAD, thread_name_prefix="clips")
            ahead = range(number, min(number + 1 + _BLOCKS_AHEAD, len(self._firsts) - 1))
            for wanted in ahead:
                if wanted not in self._blocks:
                    self._blocks[wanted] = self._pool.submit(self._block, wanted)
            block = self._blocks[number]
            others = [old for old in self._blocks if old not in ahead]
            for old in others[: max(0, len(self._blocks) - _KEPT_BLOCKS)]:
                self._blocks.pop(old).cancel()
        try:
            failed = block.exception() is not None
        except CancelledError:  # another thread, which reads elsewhere, displaced it
            return self._alone(place)
        if failed:
            with self._lock:  # or the next attempt would meet the same failure
                self._blocks.pop(number, None)
        return block.result()[place]

    def _block(self, number: int) -> dict[int, bytes]:
        first, stop = int(self._firsts[number]), int(self._firsts[number + 1])
        kept = {place: self._near.get(self._sha256(place)) for place in range(first, stop)}
        clips = {place: content for place, content in kept.items() if content is not None}
        lacking = [place for place in range(first, stop) if place not in clips]
        if lacking:
            clips |= self._fetched(lacking[0], lacking[-1] + 1)
        return clips

    def _fetched(self, first: int, stop: int) -> dict[int, bytes]:
        """Clips `[first, stop)`, which are contiguous in one shard."""
        shard: str = self._shards[first].as_py()
        start, end = self.offset(first), self.offset(stop - 1) + int(self._sizes[stop - 1])
        for last_try in (False, True):
            try:
                data = self._store.open_range(shard, start, end)
            except FileNotFoundError as error:
                raise DatasetError(
                    "a file of the dataset is missing", where=f"{self._store.shown}/{shard}"
                ) from error
            clips: dict[int, bytes] = {}
            for place in range(first, stop):
                at = self.offset(place) - start
                content = data[at : at + int(self._sizes[place])]
                if hashlib.sha256(content).hexdigest() != self._sha256(place):
                    break
                clips[place] = content
            if len(clips) == stop - first:
                for place, content in clips.items():
                    self._near.put(self._sha256(place), content)
                return clips
            if last_try:
                break
        raise DatasetError(
            f"does not match the index, from byte {start} on",
            where=f"{self._store.shown}/{shard}",
            todo="`corpus verify` finds what is damaged; copy it again, or run corpus build again",
        )

    def _sha256(self, place: int) -> str:
        text: str = self._sha256s[place].as_py()
        return text


class FarClip:
    """One clip's bytes, downloaded when first needed."""

    __slots__ = ("_clips", "_place", "_view")

    def __init__(self, clips: FarClips, place: int) -> None:
        self._clips = clips
        self._place = place
        self._view: memoryview | None = None

    @property
    def size(self) -> int:
        return self._clips.size(self._place)

    def read(self, start: int, stop: int) -> memoryview:
        """Bytes of the clip, counted from its start."""
        if self._view is None:
            self._view = memoryview(self._clips.read(self._place))
        return self._view[start:stop]


def _firsts_of_blocks(shards: pa.DictionaryArray, offsets: Int64Array, sizes: Int64Array) -> Int64Array:
    """The first place of each block of contiguous clips, followed by the number of all clips."""
    if not len(offsets):
        return np.zeros(1, np.int64)
    codes = np.asarray(shards.indices.to_numpy(), np.int64)
    blocks = offsets // BLOCK_BYTES
    begins = np.ones(len(offsets), bool)
    begins[1:] = (
        (codes[1:] != codes[:-1]) | (blocks[1:] != blocks[:-1]) | (offsets[1:] != offsets[:-1] + sizes[:-1])
    )
    return np.append(np.flatnonzero(begins), len(offsets)).astype(np.int64)
