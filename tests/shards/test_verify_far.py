"""A dataset at a URL is checked a shard a job, wherever: the report is that of the folder."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from corpus.schemas.settings import Settings, ShardSettings
from corpus.schemas.store import Store, store_at
from corpus.shards.check_shard import Problem
from corpus.shards.verify import verify_dataset
from corpus.shards.write import read_manifest, read_rows, write_dataset

URL = "memory://verify/OUT"


@pytest.fixture
def store() -> Iterator[Store]:
    import fsspec

    yield store_at(URL)
    fsspec.filesystem("memory").store.clear()


@pytest.fixture(scope="module")
def long_talk(tmp_path_factory: pytest.TempPathFactory, make_segment: Callable[..., Any]) -> Path:
    """A recording that goes on from one shard to the next."""
    base = tmp_path_factory.mktemp("long")
    segment, _ = make_segment(base, "long", segments=((0, 130),))
    settings = Settings(shards=ShardSettings(shard_bytes=1024 * 1024))
    write_dataset(base / "OUT", [segment], settings=settings, config="c" * 64)
    assert verify_dataset(base / "OUT", num_workers=1).ok
    return base / "OUT"


def anywhere(function: Callable[[Any], list[Problem]], jobs: Sequence[Any]) -> Iterator[list[Problem]]:
    """Jobs and results through pickles, as between machines."""
    for job in jobs:
        work, one = pickle.loads(pickle.dumps((function, job)))
        yield pickle.loads(pickle.dumps(work(one)))


def changed_mel(folder: Path) -> None:
    """In the last clip before a shard's end, on which the next shard's first clip looks back."""
    last, _ = _across(folder)
    path = folder / last.shard
    data = bytearray(path.read_bytes())
    data[last.offset + 700] ^= 1
    path.write_bytes(data)


def _across(folder: Path) -> tuple[Any, Any]:
    rows = read_rows(folder)
    return next((one, other) for one, other in pairwise(rows) if one.shard != other.shard)


def missing(folder: Path) -> None:
    (folder / _across(folder)[0].shard).unlink()


def cut_off(folder: Path) -> None:
    path = folder / _across(folder)[0].shard
    path.write_bytes(path.read_bytes()[:-70000])


def exchanged(folder: Path) -> None:
    one, other = (row.shard for row in _across(folder))
    (folder / one).rename(folder / "aside")
    (folder / other).rename(folder / one)
    (folder / "aside").rename(folder / other)


@pytest.mark.parametrize("damage", [changed_mel, missing, cut_off, exchanged])
def test_the_report_is_that_of_the_folder(
    long_talk: Path, tmp_path: Path, store: Store, damage: Callable[[Path], None]
) -> None:
    folder = tmp_path / "OUT"
    shutil.copytree(long_talk, folder)
    damage(folder)
    for path in folder.rglob("*"):
        if path.is_file():
            store.publish(path, path.relative_to(folder).as_posix())
    wanted = verify_dataset(folder, num_workers=1)
    assert not wanted.ok
    seen: list[int] = []
    assert verify_dataset(URL, num_workers=1, progress=seen.append) == wanted
    assert verify_dataset(URL, spread=anywhere) == wanted
    assert seen == sorted(seen) and seen[-1] == wanted.clips


def test_a_url_holds_one_shard_a_process_on_this_machine(
    whole_dataset: Path, tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tempfile

    manifest = read_manifest(whole_dataset)
    assert manifest is not None and len(manifest.shards) > 2
    for path in whole_dataset.rglob("*"):
        if path.is_file():
            store.publish(path, path.relative_to(whole_dataset).as_posix())
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    most = 0

    def watched(function: Callable[[Any], list[Problem]], jobs: Sequence[Any]) -> Iterator[list[Problem]]:
        nonlocal most
        fetch = type(store).fetch

        def counted(self: Any, name: str, folder: Path) -> Path:
            nonlocal most
            path = fetch(self, name, folder)
            blocks = sum(one.stat().st_blocks * 512 for one in tmp_path.rglob("*.tar"))
            most = max(most, blocks)
            # All in one folder, whose owner removes it even if this process is killed.
            assert len(list(tmp_path.iterdir())) == 1
            return path

        with monkeypatch.context() as patch:
            patch.setattr(type(store), "fetch", counted)
            yield from map(function, jobs)

    assert verify_dataset(URL, spread=watched).ok
    assert 0 < most <= max(entry.bytes for entry in manifest.shards) + 4096
    assert not list(tmp_path.rglob("*.tar"))
