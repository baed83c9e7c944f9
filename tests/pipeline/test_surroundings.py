"""Files that change, inputs that vanish, datasets that grow: what surrounds a build misbehaves."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from corpus.pipeline.adding import added
from corpus.pipeline.identify import Identity, identify, mark, unchanged
from corpus.pipeline.inputs import gather
from corpus.pipeline.plan import plan
from corpus.pipeline.request import Request
from corpus.pipeline.state import State
from corpus.schemas.errors import DatasetError, MediaError
from corpus.schemas.settings import Settings
from corpus.shards.verify import verify_dataset

Run = Callable[..., Any]


def identity_of(path: Path) -> Identity:
    ((item,), _) = gather([str(path)])
    return identify(item, {}, path.parent)


def test_what_changes_between_hash_and_end_of_reading_is_a_fault(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(b"one")
    identity = identity_of(path)
    with unchanged(identity):
        pass
    with pytest.raises(MediaError, match="written to"), unchanged(identity):
        path.write_bytes(b"two")
    with pytest.raises(MediaError, match="written to"), unchanged(identity):
        raise AssertionError("read all the same")
    path.write_bytes(b"one")
    with unchanged(identity):
        pass


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    for place in (tmp_path, Path("/dev/zero"), tmp_path / ("x" * 300), tmp_path / "a\0b"):
        with pytest.raises(MediaError):
            mark(str(place), {})


def test_a_dataset_loses_nothing_unasked(
    talks: Path,
    tmp_path: Path,
    run_build: Run,
    bytes_of: Callable[[Path], dict[str, str]],
    no_models: Settings,
) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for name in ("deep.flac", "sound only.wav"):
        shutil.copy(talks / name, folder)
    run_build(folder, out=out)
    before = bytes_of(out)
    (folder / "deep.flac").rename(tmp_path / "deep.flac")
    with pytest.raises(DatasetError, match=r"1 recording .*'deep.flac'.*--allow-removals"):
        run_build(folder, out=out)
    assert bytes_of(out) == before
    request = Request(inputs=(str(folder),), out=out, settings=no_models)
    assert plan(request).removals == ("deep.flac",)
    assert run_build(folder, out=out, allow_removals=True).recordings == 1
    more = added(
        Request(inputs=(str(tmp_path / "deep.flac"),), out=out, settings=Settings()), settings_given=False
    )
    assert more.settings == no_models
    run_build(*more.inputs, out=out)
    assert bytes_of(out) == before


def test_a_known_recording_is_not_made_again_unless_its_artifact_is_damaged(
    talks: Path, tmp_path: Path, run_build: Run, bytes_of: Callable[[Path], dict[str, str]]
) -> None:
    cache = tmp_path / "cache"
    run_build(talks / "deep.flac", out=tmp_path / "one", cache=cache)
    kept = {p: p.stat().st_mtime_ns for p in cache.rglob("segment.tar")}
    run_build(talks / "deep.flac", out=tmp_path / "two", cache=cache)
    assert {p: p.stat().st_mtime_ns for p in cache.rglob("segment.tar")} == kept
    (segment,) = kept
    damaged = bytearray(segment.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    segment.write_bytes(damaged)
    run_build(talks / "deep.flac", out=tmp_path / "three", cache=cache)
    assert bytes_of(tmp_path / "three") == bytes_of(tmp_path / "one") == bytes_of(tmp_path / "two")


def flip(path: Path, *, keep_time: bool) -> None:
    """One bit in the middle of a file, as a disk (time kept) or a program flips it."""
    state, damaged = path.stat(), bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(damaged)
    if keep_time:
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


def test_a_build_repairs_a_damaged_shard(
    talks: Path, tmp_path: Path, run_build: Run, bytes_of: Callable[[Path], dict[str, str]]
) -> None:
    out, source = tmp_path / "out", talks / "deep.flac"
    run_build(source, out=out)
    before = bytes_of(out)
    (shard,) = out.glob("*/*.tar")
    flip(shard, keep_time=False)
    run_build(source, out=out)
    assert bytes_of(out) == before, "another time stamp is doubt enough"
    flip(shard, keep_time=True)
    assert run_build(source, out=out).unchanged, "nothing tells of it until it is read"
    State(out).save_damaged([problem.where.partition(": ")[0] for problem in verify_dataset(out).problems])
    assert not run_build(source, out=out).unchanged
    assert bytes_of(out) == before
    flip(shard, keep_time=True)
    run_build(source, out=out, rehash=True)
    assert bytes_of(out) == before
    assert run_build(source, out=out).unchanged
