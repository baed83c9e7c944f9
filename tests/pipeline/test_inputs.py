from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from corpus.pipeline.bundles import bundles_of
from corpus.pipeline.inputs import gather
from corpus.pipeline.plan import plan
from corpus.pipeline.quick_key import quick_key
from corpus.pipeline.request import Request
from corpus.schemas.errors import UsageError
from corpus.schemas.settings import Settings


def touch(path: Path, data: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def test_a_folder_gives_its_media_by_relative_path(tmp_path: Path) -> None:
    touch(tmp_path / "b.mp4")
    touch(tmp_path / "deep" / "a.WAV")
    touch(tmp_path / "b.rttm")
    touch(tmp_path / ".hidden.mp4")
    items, drops = gather([str(tmp_path)])
    assert [item.uri for item in items] == ["b.mp4", "deep/a.WAV"]
    assert drops == []


def test_odd_names_stay_names(tmp_path: Path) -> None:
    names = ["-rf.mp4", "a b.mp4", "new\nline.mp4", "ünïcode.mp4", "%03d.mp4", "concat:x|y.mp4"]
    for name in names:
        touch(tmp_path / name)
    items, drops = gather([str(tmp_path)])
    assert sorted(item.uri for item in items) == sorted(names)
    assert all(os.path.isabs(item.files[0].place) for item in items)
    assert drops == []


def test_what_is_no_file_is_told_without_opening_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "gone.mp4").symlink_to(tmp_path / "nowhere")
    touch(tmp_path / "notes.xyz")
    items, drops = gather([str(tmp_path)])
    assert not items
    assert {(d.item, d.code, d.kind) for d in drops} == {
        ("pipe.mp4", "not_a_file", "fault"),
        ("gone.mp4", "unreadable", "fault"),
        ("folder.mp4", "folder_named_like_media", "trim"),
        ("notes.xyz", "not_media_by_name", "trim"),
    }


def test_an_empty_folder_says_so(tmp_path: Path) -> None:
    _, drops = gather([str(tmp_path)])
    assert [d.code for d in drops] == ["empty_folder"]


def test_the_same_file_named_twice_is_one_item(tmp_path: Path) -> None:
    path = touch(tmp_path / "a.mp4")
    items, _ = gather([str(path), str(path), str(tmp_path)])
    assert [item.uri for item in items] == ["a.mp4"]


def test_two_files_of_one_name_keep_apart_whatever_the_order(tmp_path: Path) -> None:
    one, two = touch(tmp_path / "1" / "a.mp4"), touch(tmp_path / "2" / "a.mp4")
    forward, _ = gather([str(one), str(two)])
    backward, _ = gather([str(two), str(one)])
    assert list(forward) == list(backward)
    assert [item.uri for item in forward] == ["a.mp4", "a.mp4#2"]


def test_globs_and_missing_paths(tmp_path: Path) -> None:
    touch(tmp_path / "a.mp4")
    touch(tmp_path / "[b].mp4")
    items, _ = gather([str(tmp_path / "a*.mp4"), str(tmp_path / "[b].mp4")])
    assert sorted(item.uri for item in items) == ["[b].mp4", "a.mp4"]
    for bad in ["nothing*.mp4", "gone.mp4"]:
        with pytest.raises(UsageError):
            gather([str(tmp_path / bad)])
    with pytest.raises(UsageError, match="no input"):
        gather([])


def test_a_manifest_says_what_is_known_and_bad_lines_are_drops(tmp_path: Path) -> None:
    touch(tmp_path / "m" / "a.wav")
    touch(tmp_path / "m" / "b.wav")
    lines = [
        {"uri": "a.wav", "licence": "CC-BY-4.0", "speakers": ["Ann"], "sidecars": ["a.rttm"]},
        {"uri": "call", "tracks": [{"uri": "a.wav", "speaker": "Ann"}, {"uri": "b.wav", "offset_us": 5}]},
        {"uri": "gone.wav"},
        {"uri": "a.wav", "chanels": "mix"},
        {"uri": "a.wav", "channels": "stereo"},
        {"uri": "b.wav", "sidecars": ["s3://bucket/b.rttm"]},
    ]
    text = "\n".join([json.dumps(line) for line in lines] + ["", "{not json"])
    manifest = touch(tmp_path / "m" / "list.jsonl", text.encode())
    items, drops = gather([str(manifest)])
    assert [(i.uri, i.licence, i.speakers) for i in items] == [
        ("a.wav", "CC-BY-4.0", ("Ann",)),
        ("call", None, ()),
    ]
    assert [(f.uri, f.speaker, f.offset_us) for f in items[1].files] == [
        ("a.wav", "Ann", 0),
        ("b.wav", None, 5),
    ]
    assert items[0].sidecars == (str(tmp_path / "m" / "a.rttm"),)
    assert [(d.item, d.kind) for d in drops] == [
        ("gone.wav", "fault"),
        ("list.jsonl:4", "fault"),
        ("a.wav", "fault"),
        ("b.wav", "fault"),
        ("list.jsonl:8", "fault"),
    ]
    assert "not URLs; fetch them first" in drops[3].reason
    assert "chanels" in drops[1].reason


def test_paths_that_no_system_takes_are_faults_of_their_items(tmp_path: Path) -> None:
    """A name too long, a NUL byte, a device: each costs its line and nothing else."""
    (tmp_path / "good.wav").write_bytes(b"x")
    lines = [
        {"uri": "good.wav"},
        {"uri": "x" * 300 + ".wav"},
        {"uri": "a\0b.wav"},
        {"uri": "/dev/zero"},
        {"uri": "good.wav", "sidecars": ["s\0.rttm"], "conversation": "c"},
    ]
    manifest = tmp_path / "list.jsonl"
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
    items, drops = gather([str(manifest)])
    assert [item.uri for item in items] == ["good.wav", "good.wav#2"]
    assert len(drops) == 3 and all(drop.kind == "fault" for drop in drops)
    with pytest.raises(UsageError, match="no such file"):
        gather([str(tmp_path / ("y" * 300))])
    request = Request(inputs=(str(manifest),), out=tmp_path / "out", settings=Settings())
    assert quick_key(bundles_of(items), request)
    faults = [item for item in plan(request).items if item.action == "fault"]
    assert [item.uri for item in faults] == ["good.wav", "good.wav#2"]
