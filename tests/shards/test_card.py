"""The dataset card: Hugging Face `datasets` loads a dataset by it, whatever the first clips hold."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from corpus.schemas.clock import US
from corpus.schemas.settings import Settings
from corpus.shards.card import dataset_card
from corpus.shards.columns import rows_table
from corpus.shards.plan import SegmentRef
from corpus.shards.read import open_clips
from corpus.shards.write import read_rows, write_dataset


@pytest.fixture(scope="module")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """The library, with its caches in a folder of the test's and no network."""
    os.environ["HF_HOME"] = str(tmp_path_factory.mktemp("hf"))
    os.environ["HF_HUB_OFFLINE"] = "1"
    return pytest.importorskip("datasets")


@pytest.fixture
def bare_first(
    cut_recording: Callable[..., tuple[SegmentRef, list[object]]], small_settings: Settings, tmp_path: Path
) -> Path:
    """The whole first shard is of clips without words, cues, speakers or pictures; the second is not."""
    bare, _ = cut_recording(
        "rec0", seed=0, bare=True, video=False, speakers=(), segments=((0, 440),), licence=None
    )
    talk, _ = cut_recording("rec1", seed=_seed_behind(bare.recording), segments=((0, 20),))
    write_dataset(tmp_path / "OUT", [bare, talk], settings=small_settings, config="c")
    rows = read_rows(tmp_path / "OUT")
    assert {row.speakers for row in rows if row.shard == rows[0].shard} == {()}
    assert rows[-1].words > 0
    for name in ("catalog.duckdb", "reviews.parquet", "report.html"):
        (tmp_path / "OUT" / name).write_bytes(b"beside")
    return tmp_path / "OUT"


def _seed_behind(recording: str) -> int:
    """A seed whose recording's hash sorts behind this one (the fixtures hash name and seed)."""
    return next(s for s in range(99) if hashlib.sha256(f"rec1{s}".encode()).hexdigest() > recording)


def test_columns_are_typed_although_the_first_clips_are_bare(bare_first: Path, datasets: ModuleType) -> None:
    loaded = datasets.load_dataset(str(bare_first), split="train")
    json = loaded.features["json"]
    assert loaded.column_names[:5] == ["json", "flac", "mel.npy", "activity.npy", "mjpeg"]
    assert json["words"].feature["text"] == datasets.Value("string")
    assert json["words"].feature["start_us"] == datasets.Value("int64")
    assert json["cues"].feature["spans"].feature["role"] == datasets.Value("string")
    assert json["video"]["offsets"].feature == datasets.Value("int64")
    assert json["mel"]["step"] == datasets.Value("float64")
    clips = open_clips(bare_first)
    assert len(loaded) == len(clips)
    first, last = loaded[0], loaded[len(loaded) - 1]
    assert (first["json"]["video"], first["json"]["words"]) == (None, [])
    assert first["mjpeg"] == b""
    head = clips[-1].json
    assert head.video is not None
    assert last["json"]["video"]["sizes"] == list(head.video.sizes)
    assert [word["text"] for word in last["json"]["words"]] == [word.text for word in head.words]
    assert last["json"]["source"]["licence"] == "CC-BY-4.0"
    assert last["flac"] == bytes(clips[-1].member("flac"))


def test_arrays_map_and_streaming_work(bare_first: Path, datasets: ModuleType) -> None:
    clips = open_clips(bare_first)
    loaded = datasets.load_dataset(str(bare_first), split="train")
    arrays = loaded.with_format("numpy")[len(clips) - 1]
    assert np.array_equal(arrays["mel.npy"], clips[-1].mel())
    assert np.array_equal(arrays["activity.npy"], clips[-1].activity())
    mapped = loaded.map(lambda row: {"count": len(row["json"]["words"])}, remove_columns=loaded.column_names)
    assert list(mapped["count"]) == [len(clip.json.words) for clip in clips]
    stream = datasets.load_dataset(str(bare_first), split="train", streaming=True)
    keys = [row["__key__"].rpartition("/")[2] for row in stream.map(lambda row: row)]
    assert keys == clips.keys()
    assert loaded.cast_column("flac", datasets.Audio(decode=False))[0]["flac"]["bytes"][:4] == b"fLaC"


def test_every_split_is_found(whole_dataset: Path, datasets: ModuleType) -> None:
    loaded = datasets.load_dataset(str(whole_dataset))
    counts = {split: len(open_clips(whole_dataset, split=split)) for split in loaded}
    assert {split: len(rows) for split, rows in loaded.items()} == counts
    assert list(counts) == ["train", "validation", "test"]


def test_the_header_is_what_the_library_writes_itself(whole_dataset: Path, datasets: ModuleType) -> None:
    import yaml

    text = (whole_dataset / "README.md").read_text("utf-8")
    header = yaml.safe_load(text.split("---\n")[1])
    features = datasets.Features._from_yaml_list(header["dataset_info"]["features"])
    assert features._to_yaml_list() == header["dataset_info"]["features"]


def test_the_card_counts_what_the_rows_say(whole_dataset: Path) -> None:
    rows = [dataclasses.replace(row, stop_us=row.start_us + 1800 * US) for row in read_rows(whole_dataset)]
    clips = sum(row.split == "test" for row in rows)
    text = dataset_card({row.split for row in rows}, rows_table(rows), "c0ffee")
    assert f"| test | 1 | {clips} | {clips // 2}.{clips % 2 * 5}00 |" in text
    assert "Licences of the recordings: CC-BY-4.0, not stated." in text
    assert "Configuration: `c0ffee`." in text
