"""Clips streamed sequentially from tars, local or remote, through webdataset.

    shards -> shuffle -> split by node -> split by worker -> open -> members -> samples -> clips -> shuffle

`open_clips` is faster for tars on disk, and finds clips by key. Use this for shards in an object store, and
for loaders built on webdataset. Shards are opened by fsspec, because webdataset's own opener would run the
command in a `pipe:` URL.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from corpus.schemas.clip import MEMBERS
from corpus.schemas.dataset import MANIFEST_FILE
from corpus.schemas.errors import DatasetError, FormatError, MissingDependencyError, StorageError
from corpus.schemas.files import inside
from corpus.schemas.store import FolderStore, Store, UrlStore, store_at
from corpus.schemas.urls import is_url
from corpus.shards.ahead import BLOCK_BYTES, BLOCKS_AHEAD, AheadFile
from corpus.shards.far_index import far_manifest
from corpus.shards.read import Clip

_Sample = dict[str, Any]
_OnBad = Callable[[FormatError], None]
_READ_AHEAD_BYTES = 1 << 20


def stream_clips(
    source: Path | str | Sequence[str],
    *,
    split: str | None = None,
    shuffle_clips: int = 0,
    shuffle_shards: bool = False,
    seed: int = 0,
    node: tuple[int, int] | None = None,
    take: Callable[[Clip], object] | None = None,
    on_bad: _OnBad | None = None,
) -> Any:
    """A `webdataset.DataPipeline` of clips: one pass over the shards, each by one node and one worker.

    `source` is a dataset's folder or URL, or a list of shards. `shuffle_clips` is the size of the shuffle
    buffer; 0 keeps the order of the shards, which `shuffle_shards` shuffles separately. The order depends on
    `seed` and the number of the pass. `node` is this node's number and the number of nodes, if neither
    torch.distributed nor the environment gives them. `take` is called on each clip in the worker that reads
    it, and its result is what the worker sends. A damaged sample raises unless `on_bad` is given; if the tar
    itself is damaged, the rest of it is skipped.

    Raises:
        DatasetError: the source holds no finished dataset, or no shard of the split.
        StorageError: the store cannot be read, now or while iterating; never passed to `on_bad`.
        FormatError: while iterating, a sample cannot be read; the message gives shard and key.
    """
    wds = _webdataset()
    shards = _shards_of(source, split) if isinstance(source, (str, Path)) else list(source)
    if not shards:
        raise DatasetError(f"no shards of split {split!r}" if split else "no shards", where=str(source))
    drawn = shuffle_clips > 0
    split_by_node = wds.split_by_node if node is None else partial(_of_node, node=node)
    return wds.DataPipeline(
        wds.SimpleShardList(shards),
        *([wds.detshuffle(len(shards), len(shards), seed=seed)] if drawn or shuffle_shards else []),
        # Each shard goes to one node and one worker, so no clip is read twice.
        split_by_node,
        wds.split_by_worker,
        _Reader(on_bad),
        *([wds.detshuffle(shuffle_clips, shuffle_clips, seed=seed + 1)] if drawn else []),
        *([wds.map(take)] if take is not None else []),
    )


def _of_node(shards: Iterable[_Sample], node: tuple[int, int]) -> Iterator[_Sample]:
    number, count = node
    return islice(shards, number, None, count)


def _webdataset() -> Any:
    try:
        import webdataset
    except ImportError as error:
        raise MissingDependencyError("streaming needs webdataset", todo="pip install webdataset") from error
    return webdataset


def _shards_of(source: Path | str, split: str | None) -> list[str]:
    """Paths or URLs of the shards that the manifest lists."""
    store = _store_of(source)
    if isinstance(store, FolderStore):
        inside(store.root, MANIFEST_FILE)
    manifest, _ = far_manifest(store)
    paths = [shard.path for shard in manifest.shards if split in (None, shard.split)]
    if isinstance(store, FolderStore):
        return [str(inside(store.root, path)) for path in paths]
    return [f"{str(source).rstrip('/')}/{path}" for path in paths]


def _store_of(place: Path | str) -> Store:
    """The store at a path or a URL, chains of fsspec's (`simplecache::s3://…`) included."""
    text = str(place)
    return UrlStore(text) if _is_far(text) and not is_url(text) else store_at(text)


def _opened(url: str, threads: ThreadPoolExecutor) -> Any:
    """An open file, local or anywhere fsspec reaches; a remote one is read ahead."""
    store = _store_of(url)
    if isinstance(store, FolderStore):
        return open(store.root, "rb", buffering=_READ_AHEAD_BYTES)
    if not url.startswith(("http://", "https://")):
        return AheadFile(UrlStore(url), threads)
    import fsspec  # web servers may not support ranges; it finds out

    return fsspec.open(url, "rb", block_size=BLOCK_BYTES, cache_type="readahead").open()


def _is_far(url: str) -> bool:
    return "://" in url


def _one_ahead(
    shards: Iterable[_Sample], threads: ThreadPoolExecutor
) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Each shard and a function that opens it; the beginning of a remote one is downloaded in advance."""
    waiting: deque[tuple[str, Callable[[], Any]]] = deque()
    for shard in shards:
        url = shard["url"]
        opened = partial(_opened, url, threads)
        waiting.append((url, threads.submit(opened).result if _is_far(url) else opened))
        if len(waiting) > 1:
            yield waiting.popleft()
    yield from waiting


class _Reader:
    """The pipeline's stage from shards to clips. A class, so that it can be pickled for workers."""

    def __init__(self, on_bad: _OnBad | None) -> None:
        self._on_bad = on_bad

    def __call__(self, shards: Iterable[_Sample]) -> Iterator[Clip]:
        threads = ThreadPoolExecutor(BLOCKS_AHEAD, thread_name_prefix="shards")
        try:
            for url, opened in _one_ahead(shards, threads):
                try:
                    yield from self._clips(url, opened)
                except FormatError as error:
                    self._bad(error)
        finally:
            threads.shutdown(wait=False, cancel_futures=True)

    def _clips(self, url: str, opened: Callable[[], Any]) -> Iterator[Clip]:
        for sample in _samples(url, opened):
            try:
                clip = _clip(sample, url)
            except FormatError as error:
                self._bad(error)
            else:
                yield clip

    def _bad(self, error: FormatError) -> None:
        if self._on_bad is None:
            raise error
        self._on_bad(error)


def _samples(url: str, opened: Callable[[], Any]) -> Iterator[_Sample]:
    """Groups of members with the same key, as webdataset reads them.

    Raises:
        FormatError: the shard cannot be opened, or is cut off or damaged from some place on.
        StorageError: the store does not answer, or refuses.
    """
    from webdataset.tariterators import group_by_keys, tar_file_expander

    key = "its start"
    try:
        with opened() as file:
            for sample in group_by_keys(tar_file_expander([{"url": url, "stream": file}])):
                key = sample["__key__"]
                yield sample
    except (MissingDependencyError, StorageError):
        raise
    except Exception as error:  # tarfile, fsspec and webdataset each have errors of their own
        said = error.args[0] if error.args else type(error).__name__
        reason = getattr(error, "strerror", None) or str(said)
        raise FormatError(f"cannot be read from {key} on: {reason}", where=url) from error


def _clip(sample: _Sample, url: str) -> Clip:
    missing = [name for name in MEMBERS if name not in sample]
    if missing:
        raise FormatError(f"{sample['__key__']} has no {', '.join(missing)}", where=url)
    return Clip.of_members(sample["__key__"], [sample[name] for name in MEMBERS], where=url)
