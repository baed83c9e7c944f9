"""The heads of the clips of a dataset at a URL, without their sound: one range of bytes for each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any

from corpus.schemas.clip import ClipHead
from corpus.schemas.codec import from_json
from corpus.schemas.dataset import CLIPS_FILE
from corpus.schemas.errors import DatasetError
from corpus.schemas.files import is_inside_name
from corpus.schemas.scratch import scratch
from corpus.schemas.store import Store, store_at
from corpus.shards.far_index import far_manifest, fetch_promised
from corpus.shards.index import read_columns

_AT_ONCE = 16

HeadsSpread = Callable[[Callable[[Any], list[ClipHead]], Sequence[Any]], Iterable[list[ClipHead]]]
"""Runs a function on each job wherever there is capacity, and returns the results in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Heads:
    """The heads of one shard's clips."""

    store: Store
    shard: str
    places: tuple[tuple[int, int], ...]
    """Start and stop of each."""


def far_heads(url: str, spread: HeadsSpread | None = None) -> Iterator[ClipHead]:
    """The heads of all clips, in order. `spread` reads those of a shard on any machine.

    Raises:
        DatasetError, FormatError: no dataset, or it is damaged.
        StorageError: the URL cannot be read.
    """
    store = store_at(url)
    manifest, _ = far_manifest(store)
    with scratch("corpus-index-") as folder:
        index = fetch_promised(store, manifest, CLIPS_FILE, folder)
        table = read_columns(index, None, ("shard", "member_offsets", "member_sizes"))
    shards: list[str] = table["shard"].to_pylist()
    rows = zip(shards, table["member_offsets"].to_pylist(), table["member_sizes"].to_pylist(), strict=True)
    jobs = []
    for shard, group in groupby(rows, key=lambda row: row[0]):
        if not is_inside_name(shard):
            raise DatasetError(f"clips.parquet names {shard[:100]!r}, which is no path inside the dataset")
        places = tuple((offsets[0], offsets[0] + sizes[0]) for _, offsets, sizes in group)
        jobs.append(_Heads(store=store, shard=shard, places=places))
    for heads in (spread or map)(_read_heads, jobs):
        yield from heads


def _read_heads(job: _Heads) -> list[ClipHead]:
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        return list(threads.map(partial(_head, job), job.places))


def _head(job: _Heads, place: tuple[int, int]) -> ClipHead:
    where = f"{job.store.shown}/{job.shard}"
    try:
        text = job.store.open_range(job.shard, *place)
    except FileNotFoundError as error:
        raise DatasetError("a file of the dataset is missing", where=where) from error
    return from_json(ClipHead, text, where=f"{where}, byte {place[0]}")
