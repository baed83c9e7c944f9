"""Plain webdataset reads every shard, by the example that shows how."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from corpus.schemas.codec import to_plain
from corpus.shards.read import open_clips


@pytest.fixture(scope="module")
def example() -> ModuleType:
    path = Path(__file__).parents[2] / "examples" / "plain_webdataset.py"
    spec = importlib.util.spec_from_file_location("plain_webdataset", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["plain_webdataset"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.filterwarnings("ignore")  # webdataset's own
@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_every_clip_is_read_as_our_own_reader_reads_it(
    split: str, whole_dataset: Path, example: ModuleType
) -> None:
    clips = open_clips(whole_dataset, split=split)
    samples = list(example.samples(whole_dataset, split))
    assert [sample.key for sample in samples] == clips.keys()
    for sample, clip in zip(samples, clips, strict=True):
        assert sample.head == to_plain(clip.json)
        assert sample.flac == bytes(clip.member("flac"))
        assert np.array_equal(sample.mel, clip.mel())
        assert np.array_equal(sample.activity, clip.activity())
        windows = range(clip.json.windows if clip.json.video else 0)
        assert sample.jpegs == [clip.jpeg(window) for window in windows]


def test_the_example_imports_nothing_of_corpus() -> None:
    text = (Path(__file__).parents[2] / "examples" / "plain_webdataset.py").read_text("utf-8")
    assert "import corpus" not in text
    assert "from corpus" not in text


def test_the_example_runs_as_its_first_lines_say(whole_dataset: Path) -> None:
    path = Path(__file__).parents[2] / "examples" / "plain_webdataset.py"
    code = [sys.executable, str(path), str(whole_dataset), "validation"]
    run = subprocess.run(code, check=True, capture_output=True, text=True)
    assert len(run.stdout.splitlines()) == len(open_clips(whole_dataset, split="validation"))
