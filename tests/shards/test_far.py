"""A dataset behind a URL reads as the same dataset in a folder; damage and absence are named."""

from __future__ import annotations

import gc
import pickle
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from corpus.schemas.clip import MEMBERS
from corpus.schemas.errors import DatasetError, SettingsError
from corpus.shards import far
from corpus.shards.near import BYTES_VARIABLE, FOLDER_VARIABLE, NearClips
from corpus.shards.read import Clip, open_clips
from corpus.shards.verify import verify_dataset


@pytest.fixture(autouse=True)
def near(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "near"))
    return tmp_path / "near"


@pytest.fixture
def put() -> Iterator[Callable[[Path], str]]:
    """Puts a dataset's files at a new URL."""
    files = fsspec.filesystem("memory")
    roots = []

    def at(out: Path) -> str:
        root = f"/{secrets.token_hex(8)}/OUT"
        roots.append(root)
        for path in out.rglob("*"):
            if path.is_file():
                files.put_file(str(path), f"{root}/{path.relative_to(out).as_posix()}")
        return f"memory:/{root}"

    yield at
    for root in roots:
        files.rm(root, recursive=True)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, int]]:
    """The ranges that are read of shards."""
    ranges: list[tuple[str, int, int]] = []
    files = fsspec.filesystem("memory")
    whole = files.cat_file

    def cat_file(path: str, start: int | None = None, end: int | None = None, **options: Any) -> bytes:
        content: bytes = whole(path, start=start, end=end, **options)
        if path.endswith(".tar"):
            ranges.append((path, start or 0, end or 0))
        return content

    monkeypatch.setattr(files, "cat_file", cat_file)
    return ranges


def members(clip: Clip) -> list[bytes]:
    return [bytes(clip.member(name)) for name in MEMBERS]


@pytest.mark.parametrize("split", [None, "train", "test"])
def test_every_byte_is_the_same(whole_dataset: Path, put: Callable[[Path], str], split: str | None) -> None:
    near_by, away = open_clips(whole_dataset, split=split), open_clips(put(whole_dataset), split=split)
    assert away.keys() == near_by.keys() and away.digest == near_by.digest
    assert [members(clip) for clip in away] == [members(clip) for clip in near_by]
    assert away.speakers.tolist() == near_by.speakers.tolist()
    assert away.find(away.keys()[1]).key == near_by.keys()[1]
    assert (away[0].audio() == near_by[0].audio()).all()


def test_a_clip_is_one_range_and_read_once(
    whole_dataset: Path, put: Callable[[Path], str], asked: list[tuple[str, int, int]]
) -> None:
    url = put(whole_dataset)
    clips = open_clips(url)
    clip = clips[7]
    assert asked == []  # nothing before it is asked for
    wanted = members(open_clips(whole_dataset)[7])
    assert members(clip) == wanted and members(clips[7]) == wanted
    size = len(b"".join(wanted))
    assert len(asked) == 1 and size < asked[0][2] - asked[0][1] < size + 4096
    assert members(open_clips(url)[7]) == wanted  # from this machine
    assert len(asked) == 1


def test_in_order_it_is_read_in_blocks_ahead(
    whole_dataset: Path,
    put: Callable[[Path], str],
    asked: list[tuple[str, int, int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(far, "BLOCK_BYTES", 400_000)
    clips = open_clips(put(whole_dataset))
    expected = [members(clip) for clip in open_clips(whole_dataset)]
    assert [members(clip) for clip in clips] == expected
    assert len(asked) < len(clips)
    total = sum(path.stat().st_size for path in whole_dataset.rglob("*.tar"))
    assert sum(stop - start for _, start, stop in asked) <= total


def test_any_order_of_any_threads_gives_the_same(
    whole_dataset: Path, put: Callable[[Path], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from concurrent.futures import ThreadPoolExecutor
    from random import Random

    monkeypatch.setenv(BYTES_VARIABLE, "3000000")
    monkeypatch.setattr(far, "BLOCK_BYTES", 300_000)
    clips, expected = open_clips(put(whole_dataset)), [members(clip) for clip in open_clips(whole_dataset)]
    places = [*range(len(clips)), *range(len(clips))]
    places += Random(3).sample(places, len(places))
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda place: members(clips[place]), places))
    assert found == [expected[place] for place in places]


def test_clips_travel_to_other_processes(whole_dataset: Path, put: Callable[[Path], str]) -> None:
    clips = open_clips(put(whole_dataset))
    again = pickle.loads(pickle.dumps(clips))
    assert members(again[3]) == members(clips[3])
    assert members(pickle.loads(pickle.dumps(clips[4]))) == members(clips[4])


def test_the_index_is_removed_with_the_clips(whole_dataset: Path, put: Callable[[Path], str]) -> None:
    clips = open_clips(put(whole_dataset))
    folder = clips.index_file.parent
    assert folder.is_dir()
    del clips
    assert not folder.exists()


@pytest.mark.parametrize("in_order", [False, True])
def test_damage_is_named_before_it_is_used(
    whole_dataset: Path, put: Callable[[Path], str], tmp_path: Path, in_order: bool
) -> None:
    out = tmp_path / "OUT"
    shutil.copytree(whole_dataset, out)
    shard = sorted(out.glob("train/*.tar"))[0]
    content = bytearray(shard.read_bytes())
    content[5000] ^= 1
    shard.chmod(0o644)
    shard.write_bytes(content)
    clips = open_clips(put(out), split="train")
    with pytest.raises(DatasetError, match=r"does not match the index.*corpus verify"):
        _ = [members(clip) for clip in clips] if in_order else members(clips[0])


def test_damage_on_this_machine_is_read_again(
    whole_dataset: Path, put: Callable[[Path], str], near: Path
) -> None:
    clips = open_clips(put(whole_dataset))
    wanted = members(clips[5])
    (kept,) = near.glob("*/*")
    kept.write_bytes(b"damaged")
    assert members(open_clips(put(whole_dataset))[5]) == wanted


def test_what_is_missing_is_named(
    whole_dataset: Path, put: Callable[[Path], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(DatasetError, match="no finished dataset"):
        open_clips("memory://nowhere/OUT")
    out = tmp_path / "OUT"
    shutil.copytree(whole_dataset, out)
    sorted(out.glob("test/*.tar"))[0].unlink()
    clips = open_clips(put(out), split="test")
    with pytest.raises(DatasetError, match=r"a file of the dataset is missing"):
        clips[0].mel()
    (out / "clips.parquet").write_bytes((out / "clips.parquet").read_bytes() + b"x")
    del clips
    with pytest.raises(DatasetError, match="does not match the manifest"):
        open_clips(put(out))
    assert not list(tmp_path.glob("corpus-index-*"))


def test_what_is_kept_stays_within_its_bound(tmp_path: Path) -> None:
    import hashlib

    kept = NearClips(tmp_path / "kept", 10_000)
    texts = [bytes([k]) * 1000 for k in range(40)]
    names = [hashlib.sha256(text).hexdigest() for text in texts]
    for name, text in zip(names, texts, strict=True):
        kept.put(name, text)
        held = sum(path.stat().st_size for path in (tmp_path / "kept").glob("*/*"))
        assert held <= 10_000
        assert kept.get(name) == text
    assert kept.get(names[0]) is None
    kept.put("f" * 64, bytes(10_001))
    assert kept.get("f" * 64) is None


def test_a_bound_that_is_no_number_is_refused(
    whole_dataset: Path, put: Callable[[Path], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(BYTES_VARIABLE, "10 GB")
    with pytest.raises(SettingsError, match="10 GB"):
        open_clips(put(whole_dataset))


def _verified(place: Path | str) -> tuple[list[tuple[str, str, str]], tuple[int, ...]]:
    found = verify_dataset(place, num_workers=1)
    problems = sorted((one.code, one.where, one.what.replace(str(place), "")) for one in found.problems)
    return problems, (found.shards, found.clips, found.windows, found.recordings)


def test_verify_finds_nothing_wrong_from_afar(whole_dataset: Path, put: Callable[[Path], str]) -> None:
    problems, counts = _verified(put(whole_dataset))
    assert problems == [] and counts == _verified(whole_dataset)[1]


def _flip(out: Path) -> None:
    shard = sorted(out.glob("train/*.tar"))[1]
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)


def _stray(out: Path) -> None:
    (out / "train" / "stray.tar").write_bytes(b"x")
    (out / ".cache").mkdir()
    (out / ".cache" / "x").write_bytes(b"x")


def _lose(out: Path) -> None:
    sorted(out.glob("test/*.tar"))[0].unlink()


def _cut(out: Path) -> None:
    (out / "clips.parquet").write_bytes(b"PAR1")


@pytest.mark.parametrize("damage", [_flip, _stray, _lose, _cut])
def test_verify_finds_the_same_from_afar(
    whole_dataset: Path, put: Callable[[Path], str], tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    out = tmp_path / "OUT"
    shutil.copytree(whole_dataset, out)
    for path in out.rglob("*"):
        path.chmod(0o755)
    damage(out)
    near_by, away = _verified(out), _verified(put(out))
    assert near_by[0] and [one[:2] for one in near_by[0]] == [one[:2] for one in away[0]]
    assert near_by[1] == away[1]


def test_heads_alone_are_those_of_the_clips(whole_dataset: Path, put: Callable[[Path], str]) -> None:
    from corpus.shards.far_heads import far_heads

    heads = [clip.json for clip in open_clips(whole_dataset)]
    url = put(whole_dataset)
    assert list(far_heads(url)) == heads
    assert list(far_heads(url, lambda function, jobs: map(function, jobs))) == heads


def test_verify_leaves_this_machine_alone(
    whole_dataset: Path, put: Callable[[Path], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A manifest from elsewhere that names files outside its folder reads and removes none of them."""
    out = tmp_path / "OUT"
    shutil.copytree(whole_dataset, out)
    text = (out / "manifest.json").read_text().replace("train/train-000000.tar", "../../mine")
    (out / "manifest.json").chmod(0o644)
    (out / "manifest.json").write_text(text)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "a" / "b"))
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "mine").write_bytes(b"mine")
    assert _verified(put(out))[0]
    assert (tmp_path / "a" / "mine").read_bytes() == b"mine"


def test_a_dataset_at_a_file_url_outlasts_its_readers(whole_dataset: Path, tmp_path: Path) -> None:
    """The copy of the index is the reader's to remove, and nothing else."""
    out = shutil.copytree(whole_dataset, tmp_path / "OUT")
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    url = f"file://{out}"
    keys = open_clips(url).keys()
    gc.collect()
    assert keys == open_clips(out).keys()
    assert verify_dataset(url, num_workers=1) == verify_dataset(out, num_workers=1)
    gc.collect()
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
