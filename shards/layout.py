"""clips.parquet as a whole, put in order and laid out in shards. Rows stay columns throughout."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from corpus.schemas.arrays import Int64Array
from corpus.schemas.clip import MEMBERS
from corpus.schemas.dataset import SPLITS
from corpus.schemas.errors import DatasetError
from corpus.shards.columns import arrow_schema
from corpus.shards.ends import shard_ends
from corpus.shards.index import ints, texts
from corpus.shards.plan import Pieces
from corpus.shards.tar import END

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Clips that are contiguous in a file."""

    file: Path
    offset: int
    sizes: tuple[int, ...]
    sha256s: tuple[str, ...]


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
class Layout:
    """The new index, its shards, and where each clip's bytes are now."""

    table: pa.Table
    shards: tuple[PlannedShard, ...]
    sizes: Int64Array
    files: tuple[Path, ...]
    file_of_row: Int64Array
    offset_in_file: Int64Array

    def sha256s(self, shard: PlannedShard) -> tuple[str, ...]:
        """Of the shard's clips."""
        return tuple(texts(self.table["sha256"].slice(shard.first, shard.clips)))

    def runs(self, shard: PlannedShard) -> Iterator[Run]:
        """The shard's clips, joined where they are contiguous already."""
        start, sha256s = shard.first, self.sha256s(shard)
        for row in range(shard.first + 1, shard.stop + 1):
            if row < shard.stop and self._follows(row):
                continue
            yield Run(
                file=self.files[int(self.file_of_row[start])],
                offset=int(self.offset_in_file[start]),
                sizes=tuple(self.sizes[start:row].tolist()),
                sha256s=sha256s[start - shard.first : row - shard.first],
            )
            start = row

    def _follows(self, row: int) -> bool:
        same = self.file_of_row[row] == self.file_of_row[row - 1]
        return bool(same and self.offset_in_file[row] == self.offset_in_file[row - 1] + self.sizes[row - 1])


def lay_out(kept: pa.Table | None, kept_files: Mapping[str, Path], new: Pieces, target_bytes: int) -> Layout:
    """All clips in order of split and key, in shards. `kept` rows are in the shards that `kept_files` names.

    Raises:
        DatasetError: two clips have the same key.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    # Files as small numbers, so that a million rows sort as arrays.
    files, file_of, table = list(new.files), new.file_of_row, new.table
    if kept is not None:
        shards_of = pa.array(list(kept_files), pa.string())
        places = np.asarray(pc.index_in(kept["shard"], shards_of).to_numpy(), np.int64)
        file_of = np.concatenate([places + len(files), file_of])
        files += kept_files.values()
        table = pa.concat_tables([kept, table])
    # Splits in their own order, not the alphabet's.
    ranks = pc.index_in(table["split"], pa.array(SPLITS, pa.string())).cast(pa.int8())
    by = table.select(["key"]).append_column("rank", ranks)
    order = pc.sort_indices(by, [("rank", "ascending"), ("key", "ascending")])
    table, order = table.take(order).combine_chunks(), np.asarray(order.to_numpy(), np.int64)
    _refuse_twice(table["key"])
    keys = texts(table["key"])
    sizes, old_offsets = ints(table["size"]), ints(table["offset"])
    ranked = np.asarray(ranks.to_numpy(), np.int64)[order]
    shards = tuple(_shards(ranked, keys, sizes, ints(table["windows"]), target_bytes))
    return Layout(
        table=_moved(table, shards, sizes, old_offsets),
        shards=shards,
        sizes=sizes,
        files=tuple(files),
        file_of_row=file_of[order],
        offset_in_file=old_offsets,
    )


def _refuse_twice(keys: pa.ChunkedArray) -> None:
    import pyarrow.compute as pc

    if pc.count_distinct(keys).as_py() < len(keys):
        counts = pc.value_counts(keys)
        key = next(one["values"] for one in counts.to_pylist() if one["counts"] > 1)
        raise DatasetError(f"two clips have the key {key}", todo="the same recording is given twice")


def _shards(
    ranks: Int64Array, keys: Sequence[str], sizes: Int64Array, windows: Int64Array, target_bytes: int
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


def _moved(
    table: pa.Table, shards: Sequence[PlannedShard], sizes: Int64Array, old_offsets: Int64Array
) -> pa.Table:
    """The rows with their new shards and offsets."""
    import pyarrow as pa

    schema = arrow_schema()
    offsets = np.zeros(len(sizes), np.int64)
    paths: list[str] = []
    for shard in shards:
        here = sizes[shard.first : shard.stop]
        offsets[shard.first : shard.stop] = np.cumsum(here) - here
        paths += [shard.path] * shard.clips
    flat = np.asarray(table["member_offsets"].combine_chunks().flatten().to_numpy(), np.int64)
    # Members keep their distance from the clip's start.
    members = flat.reshape(-1, len(MEMBERS)) + (offsets - old_offsets)[:, None]
    bounds = np.arange(len(sizes) + 1, dtype=np.int32) * len(MEMBERS)
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
    return table
