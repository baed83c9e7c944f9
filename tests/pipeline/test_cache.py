from __future__ import annotations

import os
from pathlib import Path

import pytest

from corpus.pipeline.cache import Cache
from corpus.pipeline.cache_care import check, prune
from corpus.schemas.drops import Drop
from corpus.schemas.files import write_whole

TRIM = Drop(item="a", stage="decode", kind="trim", code="x", reason="y")


def fill(folder: Path) -> list[Drop]:
    (folder / "data").write_bytes(b"1")
    return [TRIM]


def test_an_artifact_is_made_once_and_keeps_its_drops(tmp_path: Path) -> None:
    cache = Cache(tmp_path, "s")
    made = cache.make("decode", "d" * 64, fill)

    def never(folder: Path) -> list[Drop]:
        raise AssertionError("made twice")

    again = Cache(tmp_path, "other").make("decode", "d" * 64, never)
    assert made == again
    assert again.drops == (TRIM,)
    assert (again.folder / "data").read_bytes() == b"1"


def test_a_failed_fill_leaves_nothing(tmp_path: Path) -> None:
    cache = Cache(tmp_path, "s")

    def fails(folder: Path) -> list[Drop]:
        (folder / "half").write_bytes(b"1")
        raise RuntimeError("disk")

    with pytest.raises(RuntimeError):
        cache.make("decode", "d" * 64, fails)
    assert not cache.has("decode", "d" * 64)
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_two_builds_that_make_the_same_agree(tmp_path: Path) -> None:
    one, two = Cache(tmp_path, "one"), Cache(tmp_path, "two")

    def race(folder: Path) -> list[Drop]:
        two.make("decode", "d" * 64, fill)
        return fill(folder)

    made = one.make("decode", "d" * 64, race)
    assert made.drops == (TRIM,)
    assert (made.folder / "data").read_bytes() == b"1"


def test_write_whole_replaces_and_leaves_no_other_file(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_whole(path, b"old")
    write_whole(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["data", "artifact.json"])
def test_one_flipped_bit_is_made_again(tmp_path: Path, name: str) -> None:
    made = Cache(tmp_path, "s").make("decode", "d" * 64, fill)
    whole = (made.folder / name).read_bytes()
    for at in range(len(whole)):
        damaged = bytearray(whole)
        damaged[at] ^= 1
        (made.folder / name).write_bytes(damaged)
        assert check(tmp_path).damaged == (str(made.folder),)
        assert Cache(tmp_path, "s").get("decode", "d" * 64) is None
    assert Cache(tmp_path, "s").make("decode", "d" * 64, fill) == made
    assert (made.folder / name).read_bytes() == whole
    assert check(tmp_path).damaged == ()


def test_a_file_that_is_gone_is_damage(tmp_path: Path) -> None:
    made = Cache(tmp_path, "s").make("decode", "d" * 64, fill)
    (made.folder / "data").unlink()
    assert Cache(tmp_path, "s").get("decode", "d" * 64) is None


def test_prune_removes_what_was_not_used_for_long(tmp_path: Path) -> None:
    cache = Cache(tmp_path, "s")
    old, used = (cache.make("decode", letter * 64, fill) for letter in "ab")
    for made in (old, used):
        os.utime(made.folder / "artifact.json", (1, 1))
    assert Cache(tmp_path, "other").get("decode", "b" * 64) == used
    assert prune(tmp_path, days=30).artifacts == 1
    assert not old.folder.exists()
    assert (used.folder / "data").read_bytes() == b"1"
