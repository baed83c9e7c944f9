"""Inputs read by tasks: the dataset is the one that a build which reads them itself makes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from corpus.pipeline import identify
from corpus.pipeline.build import build_dataset
from corpus.pipeline.progress import Quiet
from corpus.pipeline.request import Request
from corpus.schemas.settings import Settings

BytesOf = Callable[[Path], dict[str, str]]


@pytest.fixture
def mixed(talks: Path, tmp_path: Path) -> Path:
    """Talks, one of them twice, one empty, and a manifest that names sidecars, people, and a gone file."""
    folder = tmp_path / "in"
    shutil.copytree(talks, folder / "talks")
    shutil.copy(folder / "talks" / "deep.flac", folder / "talks" / "deep again.flac")
    (folder / "talks" / "empty.wav").write_bytes(b"")
    shutil.copytree(talks, folder / "named")
    with open(folder / "named" / "sound only.wav", "r+b") as file:  # another recording
        file.seek(2000)
        file.write(b"12345678")
    entries = [
        {"uri": "named/sound only.wav", "sidecars": ["named/meeting.rttm"], "speakers": ["Ann"]},
        {"uri": "named/nowhere.wav"},
    ]
    (folder / "m.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return folder


def test_what_workers_read_makes_the_same_dataset(
    fake_cluster: Any, mixed: Path, tmp_path: Path, no_models: Settings, bytes_of: BytesOf
) -> None:
    inputs = (str(mixed / "talks"), str(mixed / "m.jsonl"))
    local = Request(inputs=inputs, out=tmp_path / "local", settings=no_models)
    here = build_dataset(local, Quiet())
    far = replace(local, out=tmp_path / "far", engine="ray")
    there = build_dataset(far, Quiet())
    assert fake_cluster.inputs == 7 and here.exit_code == there.exit_code == 3
    assert bytes_of(far.out) == bytes_of(local.out)
    assert sorted(there.drops, key=repr) == sorted(here.drops, key=repr)
    again = build_dataset(replace(far, rehash=True), Quiet())
    assert fake_cluster.inputs == 14 and again.clips == there.clips
    assert bytes_of(far.out) == bytes_of(local.out)


def test_the_driver_reads_no_media_file(
    fake_cluster: Any, mixed: Path, tmp_path: Path, no_models: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, by_driver = identify.sha256_file, []

    def noted(path: Path) -> str:
        if not fake_cluster.is_working:
            by_driver.append(path.name)
        return read(path)

    monkeypatch.setattr(identify, "sha256_file", noted)
    request = Request(inputs=(str(mixed / "talks"),), out=tmp_path / "far", settings=no_models, engine="ray")
    build_dataset(request, Quiet())
    # Only for the tasks that died at every try.
    assert fake_cluster.inputs == 6
    assert by_driver == ["meeting.mp4", "meeting.rttm", "meeting.stm", "deep again.flac"]
    (mixed / "talks" / "walk.mkv").touch()
    build_dataset(request, Quiet())
    assert fake_cluster.inputs == 6 + 2  # the one that seems changed, and the one that could not be read
