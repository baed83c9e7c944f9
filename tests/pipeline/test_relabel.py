"""Relabelling a dataset: the labels of a fresh build, without its media or cache, killed or not."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from corpus.pipeline.progress import Quiet
from corpus.pipeline.relabel import relabel_dataset
from corpus.pipeline.request import Outcome
from corpus.schemas.clip import ClipHead
from corpus.schemas.errors import DatasetError
from corpus.schemas.settings import CueSettings, Settings
from corpus.shards.read import open_clips
from corpus.shards.verify import verify_dataset

OTHER = CueSettings(shift_alone_us=300_000, shift_silence_us=100_000, thinking_shortest_us=100_000)
WORDS = "so we need the the red button um what do you think I put it in the box there".split()


def talk_of(seed: int, names: tuple[str, str]) -> dict[str, Any]:
    """A talk of two people in turn, with words on a clock of its own."""
    rng = random.Random(seed)
    words, turns, at_us = [], [], 300_000
    for number in range(10):
        who, first_us = names[number % 2], at_us
        for text in rng.choices(WORDS, k=rng.randrange(2, 8)):
            length_us = rng.randrange(150_000, 320_000)
            words.append({"speaker": who, "start_us": at_us, "stop_us": at_us + length_us, "text": text})
            at_us += length_us + rng.choice((0, 0, 300_000))
        turns.append({"speaker": who, "start_us": first_us, "stop_us": words[-1]["stop_us"]})
        at_us += rng.choice((-200_000, 150_000, 500_000))
    return {"schema": "corpus.conversation/1", "duration_us": 24_000_000, "speakers": list(names),
            "turns": turns, "words": words}  # fmt: skip


@pytest.fixture(scope="session")
def spoken(tmp_path_factory: pytest.TempPathFactory, media: ModuleType) -> Path:
    """Three recordings with turns and words beside them; the file of one tells two labels itself."""
    folder = tmp_path_factory.mktemp("spoken")
    for number, name in enumerate(("one", "two", "told")):
        sound = media.Audio(codec="pcm_s16le", rate_hz=16_000)
        media.write_media(folder / f"{name}.wav", duration_s=24.0 + number, audio=[sound])
        told = talk_of(number, ("Ann", "Bob"))
        if name == "told":
            told["gold_labels"] = ["hold"]
            told["cues"] = [
                {"label": "overlap", "kind": "simultaneous", "speaker": "Ann", "start_us": 1_000_000,
                 "stop_us": 1_200_000, "confidence": 1.0, "origin": "overlap/1"}
            ]  # fmt: skip
        (folder / f"{name}.json").write_text(json.dumps(told))
    return folder


def heads(out: Path) -> dict[str, ClipHead]:
    return {clip.key: replace(clip.json, config="") for clip in open_clips(out)}


def table(out: Path, sql: str) -> list[Any]:
    from corpus.report.catalog import query_catalog

    with query_catalog(out, sql) as answer:
        return sorted(map(str, answer.rows))


CATALOG = (
    "SELECT * FROM cues", "SELECT * FROM answers", "SELECT * FROM labels_made", "SELECT * FROM transitions",
    "SELECT * FROM units", "SELECT * EXCLUDE (run_id) FROM runs", "SELECT * FROM recordings",
    "SELECT clip_id, cues, windows FROM clips",
)  # fmt: skip


@pytest.fixture(scope="session")
def small(no_models: Settings) -> Settings:
    return no_models


@pytest.mark.parametrize("prosody", [True, False])
def test_the_labels_are_those_of_a_build_with_these_settings(
    spoken: Path, run_build: Callable[..., Outcome], tmp_path: Path, small: Settings, prosody: bool
) -> None:
    cues = replace(OTHER, prosody=prosody, ipu_bridge_us=250_000)
    run_build(spoken, out=tmp_path / "fresh", settings=replace(small, cues=cues))
    out = tmp_path / "OUT"
    run_build(spoken, out=out, settings=small)
    shutil.rmtree(out / ".cache")
    before = heads(out)
    made = relabel_dataset(out, cues, Quiet())
    assert verify_dataset(out).ok
    assert heads(out) == heads(tmp_path / "fresh") != before
    for sql in CATALOG:
        assert table(out, sql) == table(tmp_path / "fresh", sql), sql
    assert made.clips > 0 and made.shards > 0
    told = [clip for clip in open_clips(out) if "told" in clip.json.source.uri]
    overlaps = {c.id: c for clip in told for c in clip.json.cues if c.label == "overlap"}
    assert [cue.start_us for cue in overlaps.values()] == [1_000_000], "the file's own cue stays, alone"
    assert not any(cue.label == "hold" for clip in told for cue in clip.json.cues)


def test_with_the_settings_of_the_build_nothing_is_written(
    spoken: Path,
    run_build: Callable[..., Outcome],
    bytes_of: Callable[[Path], dict[str, str]],
    tmp_path: Path,
) -> None:
    out = tmp_path / "OUT"
    run_build(spoken, out=out)
    before = bytes_of(out)
    assert relabel_dataset(out, None, Quiet()).clips == 0
    assert bytes_of(out) == before


def test_a_shard_without_a_changed_clip_is_left_alone(
    spoken: Path, run_build: Callable[..., Outcome], tmp_path: Path, small: Settings
) -> None:
    out = tmp_path / "OUT"
    run_build(spoken, out=out, settings=small)
    stamps = {path: path.stat().st_mtime_ns for path in out.glob("*/*.tar")}
    old = heads(out)
    # Only the clips with a self-correction in them carry its threshold.
    made = relabel_dataset(out, CueSettings(self_correction_threshold_percent=36), Quiet())
    new = heads(out)
    changed = {key for key in old if old[key] != new[key]}
    assert made.clips == len(changed)
    touched = {path for path in out.glob("*/*.tar") if path.stat().st_mtime_ns != stamps.get(path)}
    assert {p.relative_to(out).as_posix() for p in touched} == {
        clips_shard for clips_shard in shards_of(out, changed)
    }


def shards_of(out: Path, keys: set[str]) -> set[str]:
    from corpus.shards.write import read_rows

    return {row.shard for row in read_rows(out) if row.key in keys}


def test_a_catalog_of_another_dataset_is_refused(
    spoken: Path, run_build: Callable[..., Outcome], tmp_path: Path
) -> None:
    run_build(spoken, out=tmp_path / "all")
    run_build(spoken / "one.wav", out=tmp_path / "one")
    shutil.copyfile(tmp_path / "one" / "catalog.duckdb", tmp_path / "all" / "catalog.duckdb")
    with pytest.raises(DatasetError, match="does not belong to this dataset"):
        relabel_dataset(tmp_path / "all", OTHER, Quiet())
    assert verify_dataset(tmp_path / "all").ok
    with pytest.raises(DatasetError, match="no dataset to label"):
        relabel_dataset(tmp_path, OTHER, Quiet())


@pytest.mark.slow
def test_killed_at_random_moments_it_ends_with_the_same_bytes(
    spoken: Path,
    run_build: Callable[..., Outcome],
    bytes_of: Callable[[Path], dict[str, str]],
    corpus_command: Callable[..., subprocess.Popen[str]],
    tmp_path: Path,
) -> None:
    built, config = tmp_path / "built", tmp_path / "corpus.toml"
    run_build(spoken, out=built)
    config.write_text("[cues]\nshift_alone_us = 300000\n")

    def start(out: Path) -> subprocess.Popen[str]:
        return corpus_command("label", str(out), "--config", str(config))

    whole = tmp_path / "whole"
    shutil.copytree(built, whole)
    began = time.monotonic()
    assert start(whole).wait() == 0
    length_s = time.monotonic() - began
    rng, kills = np.random.default_rng(0), 0
    for number in range(12):
        broken = tmp_path / f"broken-{number}"
        shutil.copytree(built, broken)
        process = start(broken)
        try:
            process.wait(timeout=float(rng.uniform(0.3, 1.0)) * length_s)
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            kills += 1
        process.wait()
        if (broken / "manifest.json").exists():
            assert verify_dataset(broken).problems == ()
        assert start(broken).wait() == 0
        assert bytes_of(broken) == bytes_of(whole)
        assert verify_dataset(broken).problems == ()
        shutil.rmtree(broken)
    assert kills >= 4


class Killed(BaseException):
    """As if the process had been killed."""


def test_a_dataset_at_a_url_gets_the_labels_of_the_folder(
    spoken: Path,
    run_build: Callable[..., Outcome],
    small: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    bytes_of: Callable[[Path], dict[str, str]],
) -> None:
    """Killed before the new dataset is published, the same command publishes it; shards never lie here."""
    from corpus.pipeline import far_build
    from corpus.pipeline.far_build import relabel_at, work_folder
    from corpus.schemas.store import store_at
    from corpus.shards.stand_in import is_stand_in

    url = "memory://labels/OUT"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CORPUS_WORK_DIR", "work")
    monkeypatch.setenv("CORPUS_READ_CACHE_BYTES", "0")
    store = store_at(url)
    with pytest.raises(DatasetError, match="no dataset to label"):
        relabel_at(url, OTHER, Quiet())
    out = tmp_path / "OUT"
    run_build(spoken, out=out, settings=small)
    shutil.rmtree(out / ".cache")
    files = {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    for name in files:
        store.publish(out / name, name)
    before = relabel_dataset(out, OTHER, Quiet())
    assert before.clips and before.shards

    def killed(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(far_build, "publish_far", killed)
        with pytest.raises(Killed):
            relabel_at(url, OTHER, Quiet())
    assert {name: store.open_range(name) for name in files} == files
    relabel_at(url, OTHER, Quiet())
    there = tmp_path / "there"
    for one in store.list():
        if not one.name.startswith("."):
            store.fetch(one.name, there)
    assert bytes_of(there) == bytes_of(out)
    assert not verify_dataset(url, num_workers=1).problems
    assert all(is_stand_in(path) for path in work_folder(url).glob("*/*.tar"))
    assert relabel_at(url, OTHER, Quiet()).shards == 0
