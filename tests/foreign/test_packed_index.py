"""A clips.parquet of some kilobytes that unpacks to gigabytes is refused before it is read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from corpus.schemas.errors import FormatError
from corpus.shards.index import read_index, read_rows


def rows(table: pa.Table) -> pa.Table:
    return table.take(pa.array(np.zeros(100_000, np.int64)))


def speakers(table: pa.Table) -> pa.Table:
    """A list of many values, all alike."""
    of_all = pa.array([["A"] * 6_000_000] * len(table), pa.list_(pa.string()))
    return table.set_column(table.schema.get_field_index("speakers"), "speakers", of_all)


def text(table: pa.Table) -> pa.Table:
    of_all = pa.array(["A" * 20_000_000 + str(n) for n in range(len(table))])
    return table.set_column(table.schema.get_field_index("uri"), "uri", of_all)


@pytest.mark.parametrize("packed", [rows, speakers, text])
def test_what_unpacks_to_too_much_is_refused(
    packed: Callable[[pa.Table], pa.Table], repository: Path, tmp_path: Path
) -> None:
    table = pq.read_table(repository / "tests" / "fixtures" / "dataset-1" / "clips.parquet")
    path = tmp_path / "clips.parquet"
    pq.write_table(table, path, compression="zstd")
    assert len(read_index(tmp_path)) == len(table) == len(read_rows(tmp_path))
    pq.write_table(packed(table), path, compression="zstd")
    assert path.stat().st_size < 1 << 20
    for read in (read_index, read_rows):
        with pytest.raises(FormatError, match=r"clips\.parquet cannot be read: it"):
            read(tmp_path)
