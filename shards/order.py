"""The order of a dataset's clips: by split, then by key. Few among many in order are put between them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from corpus.schemas.arrays import Int64Array
from corpus.schemas.dataset import SPLITS
from corpus.schemas.errors import DatasetError
from corpus.shards.index_rows import taken
from corpus.shards.plan import joined

if TYPE_CHECKING:
    import pyarrow as pa

_FEW, _FEW_PLACES = 1000, 16
"""Clips that are put between others one by one, and at how many places."""


def in_order(tables: Sequence[pa.Table]) -> tuple[pa.Table, Int64Array]:
    """The rows of the tables, of `placing`, in order; and each row's number among those of all tables."""
    if len(tables) == 2 and len(tables[1]) <= _FEW and _is_in_order(tables[0]):
        places, new_order = _places(tables[0], tables[1])
        if len(np.unique(places)) <= _FEW_PLACES:
            count = len(tables[0])
            order = np.insert(np.arange(count), places, count + new_order)
            return _inserted(tables[0], taken(tables[1], new_order), places), order
    table = joined(tables)
    order = _order(table)
    return taken(table, order).combine_chunks(), order


def _places(many: pa.Table, few: pa.Table) -> tuple[Int64Array, Int64Array]:
    """Before which row of `many` each of `few` belongs, and the order of the few."""
    order, ranks = _order(few), split_ranks(many)
    keys = Texts(many["key"].combine_chunks())
    new_ranks, new_keys = split_ranks(few)[order].tolist(), few["key"].take(order).to_pylist()
    places = [
        bisect_left(keys, key, *np.searchsorted(ranks, [rank, rank + 1]).tolist())
        for rank, key in zip(new_ranks, new_keys, strict=True)
    ]
    return np.array(places, np.int64), order


def _inserted(many: pa.Table, few: pa.Table, places: Int64Array) -> pa.Table:
    """Both, copied once."""
    parts, start = [], 0
    for place in np.unique(places).tolist():
        first, stop = np.searchsorted(places, [place, place + 1]).tolist()
        parts += [many.slice(start, place - start), few.slice(first, stop - first)]
        start = place
    return joined([*parts, many.slice(start)])


def split_ranks(table: pa.Table) -> Int64Array:
    # Splits in their own order, not the alphabet's.
    return numbered(table["split"], {split: rank for rank, split in enumerate(SPLITS)})


def numbered(column: pa.ChunkedArray, numbers: Mapping[str, int]) -> Int64Array:
    """The numbers of the texts in a dictionary column; the dictionary may hold other texts, too."""
    whole = column.combine_chunks()
    known = np.array([numbers.get(text, -1) for text in whole.dictionary.to_pylist()], np.int64)
    found = known[np.asarray(whole.indices.to_numpy(), np.int64)]
    if len(found) and found.min() < 0:
        raise DatasetError("a clip is of a split or shard that the dataset does not have", todo="build again")
    return found


class Texts(Sequence[str]):
    """A column of texts, only a few of which are Python objects at a time."""

    def __init__(self, column: pa.Array) -> None:
        self._column = column

    def __len__(self) -> int:
        return len(self._column)

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return Texts(self._column[place])
        return self._column[place].as_py()

    def __iter__(self) -> Iterator[str]:
        texts: list[str] = self._column.to_pylist()
        return iter(texts)


def _order(table: pa.Table) -> Int64Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    by = pa.table({"rank": pa.array(split_ranks(table).astype(np.int8)), "key": table["key"]})
    order = pc.sort_indices(by, [("rank", "ascending"), ("key", "ascending")])
    return np.asarray(order.to_numpy(), np.int64)


def _is_in_order(table: pa.Table) -> bool:
    import pyarrow.compute as pc

    ranks, keys = split_ranks(table), table["key"].combine_chunks()
    rises = np.asarray(pc.greater(keys[1:], keys[:-1]).to_numpy(zero_copy_only=False), bool)
    steps = np.diff(ranks)
    return bool(np.all((steps > 0) | ((steps == 0) & rises)))
