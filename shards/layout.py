"""Ordering all clips and laying them out in shards, using only the few columns needed for that."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from corpus.schemas.arrays import Int64Array
from corpus.schemas.clip import MEMBERS
from corpus.schemas.dataset import SPLITS
from corpus.schemas.errors import DatasetError
from corpus.shards.columns import arrow_schema
from corpus.shards.ends import shard_ends
from corpus.shards.index import ints, texts
from corpus.shards.index_rows import taken
from corpus.shards.order import Texts, in_order, numbered, split_ranks
from corpus.shards.plan import Pieces, Rows
from corpus.shards.runs import Run
from corpus.shards.tar import END

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedShard:
    """A planned shard: a stretch of rows of the index."""

    path: str
    split: str
    first: int
    stop: int
    bytes: int
    windows: int

    @property
    def clips(self) -> int:
        return self.stop - self.first


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """Clips that stay in the dataset, in existing shards."""

    placing: pa.Table
    """Of `placing`, and their shards."""
    rows: Rows
    numbers: Int64Array
    """The clips' numbers in `rows`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    """Where whole rows come from."""

    rows: Rows
    first: int
    """Position of its first clip among those of all sources."""
    numbers: Int64Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The new index, its shards, and where each clip's bytes are now."""

    placing: pa.Table
    """Of `placing`, in order."""
    shards: tuple[PlannedShard, ...]
    sizes: Int64Array
    new_files: Sequence[Path]
    kept_files: Sequence[Path]
    file_of_row: Int64Array
    """Number of each row's file: first the new ones, then the kept ones."""
    offset_in_file: Int64Array
    order: Int64Array
    """Position of each row among the clips of all sources."""
    sources: tuple[_Source, ...]

    def sha256s(self, shard: PlannedShard) -> tuple[str, ...]:
        """Digests of the shard's clips."""
        return tuple(texts(self.placing["sha256"].slice(shard.first, shard.clips)))

    def runs(self, shard: PlannedShard) -> Iterator[Run]:
        """The shard's clips, joined into runs where they are already contiguous."""
        rows, sha256s = slice(shard.first, shard.stop), self.sha256s(shard)
        files, offsets, sizes = self.file_of_row[rows], self.offset_in_file[rows], self.sizes[rows]
        follows = (files[1:] == files[:-1]) & (offsets[1:] == offsets[:-1] + sizes[:-1])
        starts = np.concatenate([[0], np.flatnonzero(~follows) + 1, [len(sizes)]]).tolist()
        for start, stop in pairwise(starts):
            yield Run(
                file=str(self._file(int(files[start]))),
                offset=int(offsets[start]),
                sizes=tuple(sizes[start:stop].tolist()),
                sha256s=sha256s[start:stop],
            )

    def _file(self, number: int) -> Path:
        new = len(self.new_files)
        return self.new_files[number] if number < new else self.kept_files[number - new]

    def rows(self, most: int) -> Iterator[pa.Table]:
        """The rows of the new index, this many at a time."""
        offsets, paths = self._places()
        for first in range(0, len(self.order), most):
            rows = slice(first, first + most)
            yield _moved(self._whole(self.order[rows]), paths[rows], offsets[rows])

    def _places(self) -> tuple[Int64Array, npt.NDArray[np.object_]]:
        """Offset and shard of each row."""
        offsets = np.zeros(len(self.sizes), np.int64)
        paths = np.empty(len(self.sizes), object)
        for shard in self.shards:
            here = self.sizes[shard.first : shard.stop]
            offsets[shard.first : shard.stop] = np.cumsum(here) - here
            paths[shard.first : shard.stop] = shard.path
        return offsets, paths

    def _whole(self, positions: Int64Array) -> pa.Table:
        """The whole rows of clips at these positions among those of all sources."""
        import pyarrow as pa

        tables, places = [], []
        for source in self.sources:
            within = positions - source.first
            mine = np.flatnonzero((within >= 0) & (within < len(source.numbers)))
            tables.append(source.rows.take(source.numbers[within[mine]]))
            places.append(mine)
        return taken(pa.concat_tables(tables), np.argsort(np.concatenate(places)))


def lay_out(kept: Kept | None, kept_files: Mapping[str, Path], new: Pieces, target_bytes: int) -> Layout:
    """All clips in order of split and key, in shards. `kept` clips are in the shards `kept_files`.

    Raises:
        DatasetError: two clips have the same key.
    """
    # Files as small numbers, so that a million rows sort as arrays.
    file_of, tables = new.file_of_row, [new.placing]
    sources = [_Source(rows=new.rows, first=0, numbers=new.numbers)]
    if kept is not None:
        number = {path: len(new.files) + place for place, path in enumerate(kept_files)}
        file_of = np.concatenate([numbered(kept.placing["shard"], number), file_of])
        tables = [kept.placing.select(new.placing.column_names), new.placing]
        sources = [
            _Source(rows=kept.rows, first=0, numbers=kept.numbers),
            _Source(rows=new.rows, first=len(kept.numbers), numbers=new.numbers),
        ]
    table, order = in_order(tables)
    ranks = split_ranks(table)
    keys = table["key"].combine_chunks()
    _refuse_twice(keys, ranks)
    sizes, offsets = ints(table["size"]), ints(table["offset"])
    shards = tuple(_shards(ranks, Texts(keys), sizes, ints(table["windows"]), target_bytes))
    return Layout(
        placing=table,
        shards=shards,
        sizes=sizes,
        new_files=new.files,
        kept_files=tuple(kept_files.values()),
        file_of_row=file_of[order],
        offset_in_file=offsets,
        order=order,
        sources=tuple(sources),
    )


def _refuse_twice(keys: pa.Array, ranks: Int64Array) -> None:
    """Refuse two clips with the same key. Within a split keys are in order."""
    import pyarrow.compute as pc

    bounds = np.searchsorted(ranks, np.arange(len(SPLITS) + 1)).tolist()
    splits = sorted((keys[start:stop] for start, stop in pairwise(bounds)), key=len)
    for place, smaller in enumerate(splits):
        twice = [smaller[1:].filter(pc.equal(smaller[1:], smaller[:-1]))]
        # The smaller one is what is looked up in: it is hashed.
        twice += [larger.filter(pc.is_in(larger, smaller)) for larger in splits[place + 1 :]]
        for found in twice:
            if len(found):
                todo = "remove the recording that is given twice"
                raise DatasetError(f"two clips have the key {found[0]}", todo=todo)


def _shards(
    ranks: Int64Array, keys: Texts, sizes: Int64Array, windows: Int64Array, target_bytes: int
) -> Iterator[PlannedShard]:
    for rank, split in enumerate(SPLITS):
        first, stop = np.searchsorted(ranks, [rank, rank + 1]).tolist()
        at = first
        for number, end in enumerate(shard_ends(keys[first:stop], sizes[first:stop], target_bytes)):
            yield PlannedShard(
                path=f"{split}/{split}-{number:06d}.tar",
                split=split,
                first=at,
                stop=first + end,
                bytes=int(sizes[at : first + end].sum()) + len(END),
                windows=int(windows[at : first + end].sum()),
            )
            at = first + end


def _moved(table: pa.Table, paths: npt.NDArray[np.object_], offsets: Int64Array) -> pa.Table:
    """The rows with their new shards and offsets."""
    import pyarrow as pa

    schema = arrow_schema()
    flat = np.asarray(table["member_offsets"].combine_chunks().flatten().to_numpy(), np.int64)
    # Members keep their distance from the clip's start.
    members = flat.reshape(-1, len(MEMBERS)) + (offsets - ints(table["offset"]))[:, None]
    bounds = np.arange(len(offsets) + 1, dtype=np.int32) * len(MEMBERS)
    columns = {
        "shard": pa.array(paths, pa.string()),
        "offset": pa.array(offsets, pa.int64()),
        "member_offsets": pa.ListArray.from_arrays(
            pa.array(bounds, pa.int32()),
            pa.array(members.reshape(-1), pa.int64()),
            type=schema.field("member_offsets").type,
        ),
    }
    for name, column in columns.items():
        position = schema.get_field_index(name)
        table = table.set_column(position, schema.field(position), column)
    return table.combine_chunks()
