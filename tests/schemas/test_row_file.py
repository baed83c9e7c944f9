"""Rows that a build keeps for itself: read back, or none where the file is not as it was written."""

from __future__ import annotations

import random
from pathlib import Path

import pyarrow as pa
import pytest

from corpus.schemas import row_file
from corpus.schemas.errors import FormatError
from corpus.schemas.marks import FileMark, Marks
from corpus.schemas.row_file import packed, read_row_file, unpacked, write_row_file

SCHEMA = pa.schema([("look", pa.string()), ("size", pa.int64())])
MARK = FileMark(place="/in/a.wav", bytes=3, mtime_ns=4, sha256="a" * 64)


def test_a_file_cut_off_or_of_another_form_has_no_rows(tmp_path: Path) -> None:
    path = tmp_path / "rows.arrow"
    assert len(read_row_file(path, SCHEMA)) == 0
    table = pa.table({"look": ["a", "b"], "size": [1, 2]}, schema=SCHEMA)
    write_row_file(path, table)
    assert read_row_file(path, SCHEMA).equals(table)
    assert len(read_row_file(path, pa.schema([("look", pa.string())]))) == 0
    whole = path.read_bytes()
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        assert len(read_row_file(path, SCHEMA)) == 0


def test_one_other_bit_leaves_no_rows(tmp_path: Path) -> None:
    path, draw = tmp_path / "rows.arrow", random.Random(1)
    table = pa.table({"look": [f"bundle {n}" for n in range(40)], "size": list(range(40))}, schema=SCHEMA)
    table = table.replace_schema_metadata({b"stamp": b"of a dataset"})
    write_row_file(path, table)
    assert read_row_file(path, SCHEMA).equals(table, check_metadata=True)
    whole = path.read_bytes()
    for _ in range(300):
        content = bytearray(whole)
        content[draw.randrange(len(whole))] ^= 1 << draw.randrange(8)
        path.write_bytes(content)
        assert len(read_row_file(path, SCHEMA)) == 0
    path.unlink()
    path.mkdir()
    assert len(read_row_file(path, SCHEMA)) == 0


def test_a_value_is_read_back_and_a_damaged_or_swollen_one_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = packed(MARK)
    assert unpacked(FileMark, content, tmp_path) == MARK
    with pytest.raises(FormatError, match="is damaged"):
        unpacked(FileMark, content[:5] + b"x" + content[6:], tmp_path)
    monkeypatch.setattr(row_file, "_MOST_UNPACKED", 20)
    with pytest.raises(FormatError, match="is damaged"):
        unpacked(FileMark, content, tmp_path)


def test_marks_are_kept_by_look_and_those_of_before_are_read(tmp_path: Path) -> None:
    older = f'{{"files":[{{"place":"/in/b.wav","bytes":1,"mtime_ns":2,"sha256":"{"b" * 64}","ctime_ns":3}}]}}'
    (tmp_path / "marks.json").write_text(older)
    marks = Marks(tmp_path)
    assert list(marks.but(frozenset())) == ["/in/b.wav"]
    marks.save(frozenset(), {"one": [MARK], "two": []})
    assert not (tmp_path / "marks.json").exists()
    assert Marks(tmp_path).but(frozenset()) == {MARK.place: MARK}
    assert Marks(tmp_path).but({"one"}) == {}
    Marks(tmp_path).save({"one"}, {})
    assert Marks(tmp_path).but(frozenset()) == {MARK.place: MARK}
