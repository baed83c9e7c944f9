"""Shards written by others: in any order, twice, cut off, into a store, from a store."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from corpus.schemas.errors import StorageError
from corpus.schemas.files import sha256_file
from corpus.schemas.settings import Settings
from corpus.schemas.store import Store, UrlStore, store_at
from corpus.shards import shard_task
from corpus.shards.copy import DamagedClipError
from corpus.shards.plan import SegmentRef
from corpus.shards.runs import write_runs
from corpus.shards.shard_task import Afar, ShardDone, ShardTask, ShardWriter
from corpus.shards.stand_in import is_stand_in, stand_in
from corpus.shards.write import Stays, write_dataset

URL = "memory://shards/OUT"


class Killed(BaseException):
    """As if the process had been killed: nothing catches it, nothing is cleaned up."""


@pytest.fixture
def store() -> Iterator[Store]:
    import fsspec

    yield store_at(URL)
    fsspec.filesystem("memory").store.clear()


def anywhere(
    stage: Callable[[ShardTask], ShardDone], tasks: Iterable[ShardTask], total_bytes: int
) -> Iterator[ShardDone]:
    """The last one first, and all of them through pickles, as between machines; each is done twice."""
    sent = [pickle.loads(pickle.dumps((stage, task))) for task in tasks]
    assert sum(task.bytes for _, task in sent) == total_bytes
    for function, task in reversed(sent):
        once = function(task)
        assert pickle.loads(pickle.dumps(function(task))) == replace(once, staged=True)
        yield once


def content(out: Path) -> dict[str, str]:
    return {
        path.relative_to(out).as_posix(): sha256_file(path)
        for path in sorted(out.rglob("*"))
        if path.is_file()
    }


def sent_shards(store: Store) -> set[str]:
    return {one.name for one in store.list(".rewrite")}


def test_who_writes_the_shards_changes_no_byte(
    refs: list[SegmentRef], small_settings: Settings, tmp_path: Path
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    manifest = write_dataset(here, refs, settings=small_settings, config="c")
    assert len(manifest.shards) > 1
    writer = ShardWriter(spread=anywhere)
    assert write_dataset(there, refs, settings=small_settings, config="c", writer=writer) == manifest
    assert content(there) == content(here)
    fewer, again = refs[1:], tmp_path / "again"
    write_dataset(there, fewer, settings=small_settings, config="c", writer=writer)
    write_dataset(again, fewer, settings=small_settings, config="c")
    assert content(there) == content(again)


def test_shards_go_to_the_store_and_leave_no_bytes_here(
    refs: list[SegmentRef], small_settings: Settings, tmp_path: Path, store: Store
) -> None:
    here, work = tmp_path / "here", tmp_path / "work"
    manifest = write_dataset(here, refs, settings=small_settings, config="c")
    writer = ShardWriter(spread=anywhere, afar=Afar(store=store, names={}))
    assert write_dataset(work, refs, settings=small_settings, config="c", writer=writer) == manifest
    assert all(is_stand_in(work / entry.path) for entry in manifest.shards)
    assert sent_shards(store) == {f".rewrite/{entry.sha256}" for entry in manifest.shards}
    for entry in manifest.shards:
        assert store.open_range(f".rewrite/{entry.sha256}") == (here / entry.path).read_bytes()


def test_clips_that_stand_in_the_store_are_read_there(
    refs: list[SegmentRef], small_settings: Settings, tmp_path: Path, store: Store
) -> None:
    """One recording more: its neighbours' clips are not in the cache any more, and not in the folder."""
    whole, work = tmp_path / "whole", tmp_path / "work"
    write_dataset(whole, refs, settings=small_settings, config="c")
    fewer = [ref for ref in refs if ref is not refs[0]]
    before = write_dataset(work, fewer, settings=small_settings, config="c")
    names = {}
    for entry in before.shards:
        names[entry.path] = f"else/{entry.sha256}"
        store.publish(work / entry.path, names[entry.path])
        stand_in(work / entry.path, entry.bytes)
    stays = Stays(gone=(), segments=b"".join(ref.id for ref in fewer))
    writer = ShardWriter(spread=anywhere, afar=Afar(store=store, names=names))
    options = {"settings": small_settings, "config": "c", "stays": stays}
    sound = {name: store.open_range(name) for name in names.values()}
    for damaged in (lambda size: None, bytes):
        for name, data in sound.items():
            store.remove(name)
            _put(store, name, damaged(len(data)), tmp_path)
        with pytest.raises(DamagedClipError) as error:
            write_dataset(work, refs[:1], writer=writer, **options)  # type: ignore[arg-type]
        assert error.value.file.relative_to(work).as_posix() in names
    for name, data in sound.items():
        _put(store, name, data, tmp_path)
    manifest = write_dataset(work, refs[:1], writer=writer, **options)  # type: ignore[arg-type]
    assert sent_shards(store)
    for entry in manifest.shards:
        sent, stood = f".rewrite/{entry.sha256}", f"else/{entry.sha256}"
        assert store.open_range(sent if store.has(sent) else stood) == (whole / entry.path).read_bytes()


def _put(store: Store, name: str, data: bytes | None, folder: Path) -> None:
    if data is None:
        return
    (folder / "put").write_bytes(data)
    store.publish(folder / "put", name)


def test_a_worker_killed_at_any_step_leaves_what_the_next_finishes(
    refs: list[SegmentRef],
    small_settings: Settings,
    tmp_path: Path,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here = tmp_path / "here"
    manifest = write_dataset(here, refs, settings=small_settings, config="c")
    steps = ("write_shard", "_send", "write_whole", "stand_in")
    puts: list[str] = []
    publish = UrlStore.publish

    def counted(self: UrlStore, local: Path, name: str, *, new: bool = False) -> bool:
        puts.append(name)
        return publish(self, local, name, new=new)

    monkeypatch.setattr(UrlStore, "publish", counted)
    for step in steps:
        for after in (False, True):
            work = tmp_path / f"work-{step}-{after}"
            afar = Afar(store=store_at(f"{URL}/{step}{after}"), names={})
            with monkeypatch.context() as patch:
                patch.setattr(shard_task, step, _killed_at(2, getattr(shard_task, step), after))
                with pytest.raises(Killed):
                    write_dataset(
                        work, refs, settings=small_settings, config="c", writer=ShardWriter(afar=afar)
                    )
            assert not (work / "manifest.json").exists()
            if step == "write_shard" and not after:
                half = next((work / ".rewrite").glob("*/*.tar")).with_name("train-000001.tar")
                half.write_bytes(b"half a shard")
            done = write_dataset(
                work, refs, settings=small_settings, config="c", writer=ShardWriter(afar=afar)
            )
            assert done == manifest
            stands = {name.rpartition("/")[2] for name in sent_shards(afar.store)}
            assert stands == {entry.sha256 for entry in manifest.shards}
            assert not (work / ".rewrite").exists()
    # What was sent before is not sent again.
    assert len(puts) == len(steps) * 2 * len(manifest.shards)


def _killed_at(number: int, original: Callable[..., Any], after: bool) -> Callable[..., Any]:
    calls = [0]

    def call(*arguments: Any, **options: Any) -> Any:
        calls[0] += 1
        result = original(*arguments, **options) if after or calls[0] < number else None
        if calls[0] == number:
            raise Killed
        return result

    return call


def test_a_note_of_other_clips_or_of_a_lost_upload_is_not_believed(
    refs: list[SegmentRef], small_settings: Settings, tmp_path: Path, store: Store
) -> None:
    tasks: list[ShardTask] = []

    def noted(
        stage: Callable[[ShardTask], ShardDone], some: Iterable[ShardTask], _: int
    ) -> Iterator[ShardDone]:
        for number, task in enumerate(some):
            # The build removes its own files of runs at the end.
            kept = shutil.copyfile(task.runs, tmp_path / f"{number}.runs")
            tasks.append(replace(task, runs=kept))
        return map(stage, tasks)

    writer = ShardWriter(spread=noted, afar=Afar(store=store, names={}))
    manifest = write_dataset(tmp_path / "work", refs, settings=small_settings, config="c", writer=writer)
    first, second = tasks[:2]
    done = shard_task.stage_shard(first)
    store.remove(f".rewrite/{done.sha256}")
    assert shard_task.stage_shard(first) == done and store.has(f".rewrite/{done.sha256}")
    moved = replace(second, path=first.path)
    assert shard_task.stage_shard(moved).sha256 == manifest.shards[1].sha256


def test_a_full_disk_and_a_damaged_segment_are_said_as_before(
    refs: list[SegmentRef], small_settings: Settings, tmp_path: Path
) -> None:
    writer = ShardWriter(spread=anywhere)
    segment = refs[0].folder / "segment.tar"
    data = bytearray(segment.read_bytes())
    data[5000] ^= 1
    segment.write_bytes(data)
    with pytest.raises(DamagedClipError, match="holds other bytes than its clips had") as error:
        write_dataset(tmp_path / "OUT", refs, settings=small_settings, config="c", writer=writer)
    assert pickle.loads(pickle.dumps(error.value)).file == error.value.file == segment
    (tmp_path / "file").write_text("no folder")
    write_runs(tmp_path / "runs", [])
    task = ShardTask(out=tmp_path / "file", path="train/train-000000.tar", bytes=5, runs=tmp_path / "runs")
    with pytest.raises(StorageError, match="Not a directory"):
        shard_task.stage_shard(task)
