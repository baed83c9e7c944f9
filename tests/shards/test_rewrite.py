"""Clips of a dataset replaced: only what must be is written, and a kill at any step leaves one of the two."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from corpus.schemas.errors import DatasetError
from corpus.schemas.settings import Settings
from corpus.shards.plan import Piece, SegmentRef
from corpus.shards.read import open_clips
from corpus.shards.rewrite import append_head, stage_rewrite
from corpus.shards.swap import begin_staging, finish_swap, swap
from corpus.shards.verify import verify_dataset
from corpus.shards.write import read_rows, write_dataset

CutRecording = Callable[..., tuple[SegmentRef, list[object]]]


@pytest.fixture
def dataset(tmp_path: Path, make_segment: CutRecording, small_settings: Settings) -> Path:
    refs = [
        make_segment(tmp_path, name, split=split, segments=((0, 30),), seed=place)[0]
        for place, (name, split) in enumerate((("one", "train"), ("two", "train"), ("four", "validation")))
    ]
    write_dataset(tmp_path / "OUT", refs, settings=small_settings, config="c")
    return tmp_path / "OUT"


def change_all_of(out: Path, split: str, settings: Settings) -> None:
    """Stage a dataset in which no clip of the split has a cue."""
    folder = begin_staging(out)
    clips = open_clips(out)
    new = []
    with open(folder / "new.tar", "wb") as tar:
        for row in read_rows(out):
            if row.split == split:
                head = dataclasses.replace(clips[row.key].json, cues=(), config="c2")
                new.append(Piece(row=append_head(tar, clips[row.key], row, head), file=folder / "new.tar"))
    stage_rewrite(out, new, settings=settings, config="c2")


def content(out: Path) -> dict[str, bytes]:
    return {p.relative_to(out).as_posix(): p.read_bytes() for p in sorted(out.rglob("*")) if p.is_file()}


def test_only_the_shards_that_hold_the_clips_are_written(dataset: Path, small_settings: Settings) -> None:
    before = {path: path.stat().st_mtime_ns for path in dataset.glob("train/*.tar")}
    heads = {clip.key: clip.json for clip in open_clips(dataset)}
    change_all_of(dataset, "validation", small_settings)
    swap(dataset)
    assert verify_dataset(dataset).ok
    assert {path: path.stat().st_mtime_ns for path in dataset.glob("train/*.tar")} == before
    assert not (dataset / ".rewrite").exists()
    for clip in open_clips(dataset):
        changed = heads[clip.key].split == "validation"
        expected = dataclasses.replace(heads[clip.key], cues=(), config="c2") if changed else heads[clip.key]
        assert clip.json == expected


def test_killed_at_any_step_the_dataset_is_the_old_one_or_the_new(
    dataset: Path, small_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    old = content(dataset)
    whole = tmp_path / "whole"
    shutil.copytree(dataset, whole)
    change_all_of(whole, "train", small_settings)
    swap(whole)
    new = content(whole)
    real = {name: getattr(os, name) for name in ("replace", "fsync", "unlink")}
    steps = done = 0
    while True:
        broken = tmp_path / f"broken-{steps}"
        shutil.copytree(dataset, broken)
        left = steps

        def dying(name: str) -> Callable[..., object]:
            def step(*arguments: object, **named: object) -> object:
                nonlocal left
                if left == 0:
                    raise Killed
                left -= 1
                return real[name](*arguments, **named)

            return step

        with monkeypatch.context() as patch:
            for name in ("replace", "fsync"):
                patch.setattr(os, name, dying(name))
            try:
                change_all_of(broken, "train", small_settings)
                swap(broken)
                done += 1
            except Killed:
                pass
        if (broken / "manifest.json").exists():
            now = {name: data for name, data in content(broken).items() if not name.startswith(".rewrite")}
            assert now in (old, new)
        begin_staging(broken).rmdir()
        assert content(broken) in (old, new)
        assert verify_dataset(broken).ok
        shutil.rmtree(broken)
        steps += 1
        if done:
            break
    assert steps > 10


def test_an_interrupted_swap_is_finished_once(dataset: Path, small_settings: Settings) -> None:
    assert not finish_swap(dataset)
    change_all_of(dataset, "train", small_settings)
    assert not finish_swap(dataset), "nothing was moved before swap.json stands there"
    assert verify_dataset(dataset).ok


def test_a_folder_where_a_file_goes_stops_the_swap_before_it_begins(
    dataset: Path, small_settings: Settings
) -> None:
    (dataset / "README.md").rename(dataset / "card")
    (dataset / "README.md").mkdir()
    before = (dataset / "manifest.json").read_bytes()
    for _ in range(2):
        with pytest.raises(DatasetError, match=r"README\.md: is a folder where a file of the dataset goes"):
            change_all_of(dataset, "train", small_settings)
            swap(dataset)
        assert (dataset / "manifest.json").read_bytes() == before
    (dataset / "README.md").rmdir()
    swap(dataset)
    assert verify_dataset(dataset).problems[0].code == "extra_file"  # `card` alone


def test_only_shards_make_room(dataset: Path, small_settings: Settings) -> None:
    own = dataset / "train" / "train-old.tar"
    own.write_bytes(b"precious")
    (dataset / "train" / "train-000099.tar").write_bytes(b"of an older build")
    change_all_of(dataset, "train", small_settings)
    swap(dataset)
    assert own.read_bytes() == b"precious" and not (dataset / "train" / "train-000099.tar").exists()


def test_there_must_be_a_dataset(tmp_path: Path, small_settings: Settings) -> None:
    begin_staging(tmp_path)
    with pytest.raises(DatasetError, match="no dataset to change"):
        stage_rewrite(tmp_path, [], settings=small_settings, config="c")
