"""Rows that a build keeps for itself are those that were written, or none."""

from __future__ import annotations

import random
from pathlib import Path

import pyarrow as pa
import pytest

from corpus.pipeline.row_file import read_row_file, write_row_file

TABLE = pa.table(
    {
        "look": pa.array([f"bundle {number}" for number in range(40)], pa.string()),
        "keys": pa.array([bytes(8 * (number % 3)) for number in range(40)], pa.binary()),
        "whole": pa.array([number % 2 == 0 for number in range(40)], pa.bool_()),
    },
    metadata={b"stamp": b"of a dataset"},
)


@pytest.mark.parametrize("table", [TABLE, TABLE.slice(0, 0)])
def test_rows_and_metadata_come_back(tmp_path: Path, table: pa.Table) -> None:
    write_row_file(tmp_path / "rows.arrow", table)
    assert read_row_file(tmp_path / "rows.arrow", TABLE.schema).equals(table, check_metadata=True)


def test_a_file_with_any_other_bit_or_length_holds_no_rows(tmp_path: Path) -> None:
    path, draw = tmp_path / "rows.arrow", random.Random(1)
    write_row_file(path, TABLE)
    whole = path.read_bytes()
    damaged = [b"", whole[:3], whole[:-1], whole + b"\0", whole[:-4]]
    for _ in range(300):
        content = bytearray(whole)
        content[draw.randrange(len(whole))] ^= 1 << draw.randrange(8)
        damaged.append(bytes(content))
    for content in damaged:
        path.write_bytes(content)
        assert len(read_row_file(path, TABLE.schema)) == 0


def test_what_is_no_file_of_these_rows_holds_none(tmp_path: Path) -> None:
    other = TABLE.rename_columns(["look", "names", "whole"])
    write_row_file(tmp_path / "rows.arrow", other)
    (tmp_path / "folder").mkdir()
    for name in ("rows.arrow", "folder", "nothing"):
        assert read_row_file(tmp_path / name, TABLE.schema).equals(TABLE.schema.empty_table())
