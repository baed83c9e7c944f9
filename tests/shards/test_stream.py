"""Clips streamed by webdataset are those that the mapped reader gives, each once, and damage is named."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import webdataset as wds

from corpus.schemas import store as stores
from corpus.schemas.clip import MEMBERS
from corpus.schemas.errors import DatasetError, FormatError, StorageError
from corpus.schemas.store import store_at
from corpus.shards.read import Clip, open_clips
from corpus.shards.stream import stream_clips

pytestmark = pytest.mark.filterwarnings("ignore")  # webdataset's own


def key_of(clip: Clip) -> str:
    return clip.key


@pytest.mark.parametrize("split", ["train", "validation", None])
def test_the_same_clips_in_the_same_order(split: str | None, whole_dataset: Path) -> None:
    clips = open_clips(whole_dataset, split=split)
    streamed = list(stream_clips(whole_dataset, split=split))
    assert [clip.key for clip in streamed] == clips.keys()
    for clip, other in zip(clips, streamed, strict=True):
        assert clip.json == other.json
        assert all(clip.member(name) == other.member(name) for name in MEMBERS)
        assert np.array_equal(clip.audio(), other.audio())


def test_from_a_url(whole_dataset: Path) -> None:
    keys = [clip.key for clip in stream_clips(f"file://{whole_dataset}", split="train")]
    assert keys == open_clips(whole_dataset, split="train").keys()


def test_the_shuffle_follows_from_the_seed_and_the_pass(whole_dataset: Path) -> None:
    def passes(seed: int) -> list[list[str]]:
        pipeline = stream_clips(whole_dataset, shuffle_clips=100, seed=seed, take=key_of)
        return [list(pipeline), list(pipeline)]

    keys = sorted(open_clips(whole_dataset).keys())
    first, second = passes(0)
    assert passes(0) == [first, second]
    assert first != second and passes(1)[0] != first
    assert sorted(first) == sorted(second) == keys


def test_workers_and_nodes_share_the_shards(whole_dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = sorted(open_clips(whole_dataset).keys())
    loader = wds.WebLoader(stream_clips(whole_dataset, take=key_of), batch_size=None, num_workers=2)
    assert sorted(loader) == keys
    monkeypatch.setenv("WORLD_SIZE", "3")
    seen: list[str] = []
    for rank in range(3):
        monkeypatch.setenv("RANK", str(rank))
        seen += [clip.key for clip in stream_clips(whole_dataset)]
    assert sorted(seen) == keys


def test_a_clip_travels_between_processes(whole_dataset: Path) -> None:
    clip = open_clips(whole_dataset)[0]
    copy = pickle.loads(pickle.dumps(clip))
    assert (copy.key, copy.json) == (clip.key, clip.json)
    assert np.array_equal(copy.mel(), clip.mel())


def test_damage_is_named_and_may_be_passed_over(whole_dataset: Path, tmp_path: Path) -> None:
    out = tmp_path / "copy"
    shutil.copytree(whole_dataset, out)
    shard = next(iter(sorted((out / "train").glob("*.tar"))))
    keys = open_clips(whole_dataset, split="train").keys()
    data = shard.read_bytes()
    (tmp_path / "whole.tar").write_bytes(data)

    shard.write_bytes(data[: len(data) // 2])  # cut off
    with pytest.raises(FormatError, match=shard.name):
        list(stream_clips(out, split="train"))
    bad: list[FormatError] = []
    found = [clip.key for clip in stream_clips(out, split="train", on_bad=bad.append)]
    assert bad and set(found) < set(keys)

    shard.write_bytes(data.replace(b".flac\0", b".flop\0", 1))  # a member of another name
    bad.clear()
    found = [clip.key for clip in stream_clips(out, split="train", on_bad=bad.append)]
    assert len(bad) == 1 and "has no flac" in str(bad[0])

    shard.unlink()
    with pytest.raises(FormatError, match=shard.name):
        list(stream_clips(out, split="train"))


def test_nothing_to_stream(tmp_path: Path, whole_dataset: Path) -> None:
    with pytest.raises(DatasetError, match=r"manifest\.json is missing"):
        stream_clips(tmp_path)
    with pytest.raises(DatasetError, match="no shards of split 'nowhere'"):
        stream_clips(whole_dataset, split="nowhere")


def test_no_url_runs_a_command(tmp_path: Path) -> None:
    for url in (f"pipe:touch {tmp_path}/ran", f"pipe://touch {tmp_path}/ran"):
        with pytest.raises((FormatError, StorageError)):
            list(stream_clips([url]))
    assert not (tmp_path / "ran").exists()


def test_from_a_store_that_is_read_ahead(whole_dataset: Path) -> None:
    import fsspec

    url = "memory://stream/OUT"
    fsspec.filesystem("memory").put(str(whole_dataset), "/stream/OUT", recursive=True)
    try:
        for split in ("train", None):
            clips, streamed = open_clips(whole_dataset, split=split), list(stream_clips(url, split=split))
            assert [clip.key for clip in streamed] == clips.keys()
            for clip, other in zip(clips, streamed, strict=True):
                assert all(clip.member(name) == other.member(name) for name in MEMBERS)
        shard = f"{url}/train/train-000000.tar"
        fsspec.filesystem("memory").rm("/stream/OUT/train/train-000001.tar")
        shards = [shard, shard.replace("00.tar", "01.tar"), shard]
        with pytest.raises(FormatError, match=r"train-000001\.tar: cannot be read from its start on"):
            list(stream_clips(shards))
        missed: list[FormatError] = []
        keys = [clip.key for clip in stream_clips(shards, on_bad=missed.append)]
        assert len(missed) == 1 and keys[: len(keys) // 2] == keys[len(keys) // 2 :]
        next(iter(stream_clips(url)))  # and no more: threads end
    finally:
        fsspec.filesystem("memory").rm("/stream", recursive=True)


def _stumbling(monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    """A store in memory that so often sends less of a shard than was asked for."""
    import fsspec

    memory = type(fsspec.filesystem("memory"))
    real, left = memory.cat_file, [times]

    def short(self: Any, path: str, start: Any = None, end: Any = None, **options: Any) -> bytes:
        content: bytes = real(self, path, start=start, end=end, **options)
        if path.endswith(".tar") and left[0]:
            left[0] -= 1
            return content[:-100]
        return content

    monkeypatch.setattr(memory, "cat_file", short)
    monkeypatch.setattr(stores, "_PAUSES_S", (0.0, 0.0, 0.0))


@pytest.fixture
def far(whole_dataset: Path) -> Iterator[str]:
    import fsspec

    fsspec.filesystem("memory").put(str(whole_dataset), "/streamed/OUT", recursive=True)
    yield "memory://streamed/OUT"
    fsspec.filesystem("memory").rm("/streamed", recursive=True)


def test_a_store_that_stumbles_is_asked_again(
    far: str, whole_dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _stumbling(monkeypatch, 3)
    assert [clip.key for clip in stream_clips(far)] == open_clips(whole_dataset).keys()


def test_a_store_that_fails_is_not_taken_for_damage(far: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else expired credentials would pass for an epoch of damaged shards."""
    _stumbling(monkeypatch, 1_000)
    passed_over: list[FormatError] = []
    with pytest.raises(StorageError, match=r"the store refused: .* bytes came where"):
        list(stream_clips(far, on_bad=passed_over.append))
    assert not passed_over


def test_what_the_store_said_is_told(far: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And not that the manifest is missing."""
    with pytest.raises(StorageError, match="Protocol not known: nowhere"):
        stream_clips("nowhere://bucket/set")
    import fsspec

    def denied(self: Any, *_: Any, **__: Any) -> bytes:
        raise PermissionError("Access Denied")

    monkeypatch.setattr(type(fsspec.filesystem("memory")), "cat_file", denied)
    with pytest.raises(StorageError, match="Access Denied; credentials are missing"):
        stream_clips(far)


def test_a_file_url_is_read_as_everywhere_else(whole_dataset: Path, tmp_path: Path) -> None:
    shutil.copytree(whole_dataset, tmp_path / "a b")
    url = f"file://{tmp_path}/a%20b"
    assert [clip.key for clip in stream_clips(url)] == open_clips(url).keys()


def test_a_shard_that_is_replaced_while_it_is_read_is_an_error(far: str, tmp_path: Path) -> None:
    """Half of it may have come from the one file and half from the other."""
    store, name = store_at(far), "train/train-000000.tar"
    clips = iter(stream_clips([f"{far}/{name}"]))
    next(clips)
    store.publish(store.fetch(name, tmp_path), name)
    with pytest.raises(FormatError, match=r"train-000000\.tar: .*was replaced while it was read"):
        list(clips)
    assert list(stream_clips([f"{far}/{name}"]))
