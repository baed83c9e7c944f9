"""One declaration of the columns of clips.parquet, and rows that survive the way through the file."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from corpus.schemas.errors import FormatError
from corpus.schemas.quality import Quality
from corpus.shards.columns import ADDED, COLUMNS, ClipRow, arrow_schema, rows_table, table_rows
from corpus.shards.write import read_rows


def test_the_columns_are_the_fields() -> None:
    assert [column.name for column in COLUMNS] == [field.name for field in dataclasses.fields(ClipRow)]
    assert arrow_schema().names == [column.name for column in COLUMNS]


def test_only_what_may_be_unknown_is_nullable() -> None:
    measured = {field.name for field in dataclasses.fields(Quality)}
    assert {c.name for c in COLUMNS if c.nullable} == {"licence", "consent", "conversation", *measured}
    assert measured == ADDED


def test_columns_readers_depend_on() -> None:
    """Other tools query these by name and type."""
    kinds = {column.name: column.kind for column in COLUMNS}
    assert kinds["member_offsets"] == kinds["member_sizes"] == "list<int64>"
    assert kinds["key"] == kinds["shard"] == kinds["split"] == kinds["uri"] == "string"
    assert kinds["speech_us"] == kinds["overlap_us"] == "int64"
    assert kinds["unreliable_share"] == "double"
    assert kinds["named_speakers"] == "list<string>"


def test_rows_survive_the_file(whole_dataset: Path, tmp_path: Path) -> None:
    rows = read_rows(whole_dataset)
    pq.write_table(rows_table(rows), tmp_path / "again.parquet")
    again = pq.read_table(tmp_path / "again.parquet")
    assert list(table_rows(again)) == rows
    assert again.schema.equals(arrow_schema())


def test_no_rows_make_a_table_too() -> None:
    assert rows_table([]).schema.equals(arrow_schema())


def test_a_missing_column_is_named(whole_dataset: Path) -> None:
    table = rows_table(read_rows(whole_dataset)).drop_columns(["sha256"])
    with pytest.raises(FormatError, match="sha256 is missing"):
        list(table_rows(table))
    assert isinstance(table, pa.Table)
