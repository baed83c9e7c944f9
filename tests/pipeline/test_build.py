from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from corpus.pipeline import building
from corpus.pipeline.build import build_dataset
from corpus.pipeline.quarantine import chosen, retry
from corpus.pipeline.request import Outcome, Request
from corpus.pipeline.state import State
from corpus.schemas.activity import UNRELIABLE
from corpus.schemas.errors import LockedError, StorageError
from corpus.schemas.settings import Settings
from corpus.shards.read import open_clips
from corpus.shards.verify import verify_dataset

Run = Callable[..., Any]
Bytes = Callable[[Path], dict[str, str]]


class Silent:
    """A build's talk that keeps the phases and says nothing."""

    def __init__(self) -> None:
        self.phases: list[tuple[str, int]] = []

    def phase(self, name: str, total: int) -> None:
        self.phases.append((name, total))

    def at(self, done: float, detail: str) -> None: ...
    def say(self, line: str) -> None: ...


@pytest.fixture(scope="module")
def built(talks: Path, tmp_path_factory: pytest.TempPathFactory, no_models: Settings) -> Path:
    """One build of all talks, for the tests that only look."""
    out = tmp_path_factory.mktemp("built") / "out"
    outcome = build_dataset(Request(inputs=(str(talks),), out=out, settings=no_models), Silent())
    assert (outcome.exit_code, outcome.recordings) == (0, 4)
    return out


def test_a_build_keeps_every_promise_of_the_format(built: Path) -> None:
    report = verify_dataset(built)
    assert report.problems == ()
    assert report.clips == len(open_clips(built)) > 0


def test_sidecars_are_used_and_named_local(built: Path) -> None:
    clips = [c for c in open_clips(built) if c.json.source.uri == "meeting.mp4"]
    head = clips[0].json
    assert head.speakers == ("Ann", "Bob")
    assert [t.speaker for t in head.turns] == ["Ann"]
    assert {w.text for c in clips for w in c.json.words} >= {"hello", "there", "bob", "how"}
    assert all(w.timing == "interpolated" for c in clips for w in c.json.words)


def test_every_whole_window_is_there_and_the_rest_is_a_trim(
    talks: Path, tmp_path: Path, run_build: Run
) -> None:
    outcome = run_build(talks / "sound only.wav", out=tmp_path / "out")
    assert outcome.windows == 20
    (trim,) = [d for d in outcome.drops if d.code == "last_partial_window"]
    assert (trim.kind, trim.item) == ("trim", "sound only.wav")
    assert outcome.exit_code == 0


def test_bytes_do_not_depend_on_workers_order_or_cache(
    talks: Path, built: Path, tmp_path: Path, run_build: Run, bytes_of: Bytes
) -> None:
    expected = bytes_of(built)
    for workers in (2, 4):
        out = tmp_path / f"workers{workers}"
        run_build(talks, out=out, num_workers=workers)
        assert bytes_of(out) == expected
    elsewhere = tmp_path / "moved" / "talks"
    shutil.copytree(talks, elsewhere)
    for path in elsewhere.iterdir():
        os.utime(path, ns=(1, 1))
    run_build(elsewhere, out=tmp_path / "far", cache=tmp_path / "cache")
    assert bytes_of(tmp_path / "far") == expected


def test_a_rebuild_with_nothing_changed_writes_nothing(talks: Path, tmp_path: Path, run_build: Run) -> None:
    out = tmp_path / "out"
    run_build(talks, out=out)
    before = {p: p.stat().st_mtime_ns for p in out.rglob("*") if p.is_file()}
    assert run_build(talks, out=out).unchanged
    assert {p: p.stat().st_mtime_ns for p in out.rglob("*") if p.is_file()} == before


def test_a_lost_output_is_made_again(talks: Path, tmp_path: Path, run_build: Run, bytes_of: Bytes) -> None:
    out = tmp_path / "out"
    run_build(talks, out=out)
    expected = bytes_of(out)
    next(out.glob("*/*.tar")).unlink()
    assert not run_build(talks, out=out).unchanged
    assert bytes_of(out) == expected


def test_a_changed_setting_redoes_only_what_depends_on_it(
    talks: Path, tmp_path: Path, run_build: Run, no_models: Settings
) -> None:
    out = tmp_path / "out"
    run_build(talks, out=out)
    decoded = {p: p.stat().st_mtime_ns for p in (out / ".cache" / "decode").rglob("decoded.json")}
    cut = set((out / ".cache" / "cut").rglob("segment.tar"))
    longer = replace(no_models, clips=replace(no_models.clips, windows_per_clip=20))
    run_build(talks, out=out, settings=longer)
    assert {p: p.stat().st_mtime_ns for p in (out / ".cache" / "decode").rglob("decoded.json")} == decoded
    assert set((out / ".cache" / "cut").rglob("segment.tar")) > cut
    assert verify_dataset(out).problems == ()


def test_a_changed_sidecar_is_noticed(talks: Path, tmp_path: Path, run_build: Run) -> None:
    folder, out = tmp_path / "talks", tmp_path / "out"
    shutil.copytree(talks, folder)
    run_build(folder, out=out)
    (folder / "meeting.rttm").write_text("SPEAKER meeting 1 0.5 1.0 <NA> <NA> Zoe <NA> <NA>\n")
    (folder / "meeting.stm").unlink()
    assert not run_build(folder, out=out).unchanged
    (head,) = {c.json.speakers for c in open_clips(out) if c.json.source.uri == "meeting.mp4"}
    assert head == ("Zoe",)


def test_the_same_content_twice_is_built_once(talks: Path, tmp_path: Path, run_build: Run) -> None:
    folder = tmp_path / "talks"
    folder.mkdir()
    for name in ("a.wav", "b.wav"):
        shutil.copy(talks / "sound only.wav", folder / name)
    outcome = run_build(folder, out=tmp_path / "out")
    assert outcome.recordings == 1
    assert [(d.item, d.kind, d.reason) for d in outcome.drops if d.code == "duplicate"] == [
        ("b.wav", "trim", "has the same content as a.wav")
    ]


def test_a_bad_file_is_quarantined_and_retried(
    talks: Path, tmp_path: Path, run_build: Run, no_models: Settings
) -> None:
    folder, out = tmp_path / "talks", tmp_path / "out"
    folder.mkdir()
    shutil.copy(talks / "sound only.wav", folder / "good.wav")
    (folder / "bad.mp4").write_bytes(b"this is no film" * 100)
    (folder / "empty.mp4").touch()
    outcome = run_build(folder, out=out)
    assert (outcome.exit_code, outcome.recordings) == (3, 1)
    assert {q.uri for q in chosen(out, [])} == {"bad.mp4", "empty.mp4"}
    assert run_build(folder, out=out).unchanged
    assert run_build(folder, out=out).exit_code == 3
    State(out).forget_finished()
    talk = Silent()
    build_dataset(Request(inputs=(str(folder),), out=out, settings=no_models), talk)
    assert dict(talk.phases)["build"] == 0, "what failed is not tried again, what is built is known"
    again = retry(out, ["bad.mp4"], Silent())
    assert again.exit_code == 3
    shutil.copy(talks / "walk.mkv", folder / "bad.mp4")
    (folder / "empty.mp4").unlink()
    assert run_build(folder, out=out).exit_code == 0
    assert chosen(out, []) == []


def test_a_retry_works_where_the_build_worked(
    talks: Path, tmp_path: Path, run_build: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Request] = []

    def build(request: Request, talk: object) -> Outcome:
        asked.append(request)
        return Outcome(exit_code=0, unchanged=False)

    (tmp_path / "bad.wav").write_bytes(b"RIFF")
    monkeypatch.setattr(building.Building, "_engine", lambda self: nullcontext())
    monkeypatch.setattr(building.Building, "_record_each", lambda self, function, jobs: iter(()))
    options = {"engine": "ray", "address": "head:6379", "cache_url": "memory://cache"}
    run_build(tmp_path / "bad.wav", out=tmp_path / "out", **options)
    retry(tmp_path / "out", [], Silent(), build)
    assert {name: getattr(asked[0], name) for name in options} == options


def test_two_builds_of_one_folder_do_not_meet(talks: Path, tmp_path: Path, run_build: Run) -> None:
    state = State(tmp_path / "out")
    state.create()
    with state.locked(), pytest.raises(LockedError, match="another build"):
        run_build(talks, out=tmp_path / "out")


def test_an_output_folder_that_cannot_be_written_is_one_clear_line(
    talks: Path, tmp_path: Path, run_build: Run
) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match="cannot write here"):
        run_build(talks, out=tmp_path / "file" / "out")


def test_one_speaker_per_channel_is_never_mixed_down(
    tmp_path: Path, run_build: Run, no_models: Settings, media: ModuleType
) -> None:
    """Each channel has the input's own samples, overlaps whole, and the room is silent."""
    left = media.sound(16_000, 4.0, chirps_us=[500_000, 1_500_000])
    right = media.sound(16_000, 4.0, chirps_us=[1_500_000, 3_000_000])
    track = media.Audio(codec="pcm_s16le", rate_hz=16_000, channels=2, track=np.stack([left, right]))
    media.write_media(tmp_path / "call.wav", duration_s=4.0, audio=[track])
    (tmp_path / "call.rttm").write_text(
        "SPEAKER call 1 0.5 1.5 <NA> <NA> Ann <NA> <NA>\nSPEAKER call 1 1.5 2.0 <NA> <NA> Bob <NA> <NA>\n"
    )
    line = {"uri": "call.wav", "channels": "per_channel", "speakers": ["Ann", "Bob"], "licence": "CC0-1.0"}
    (tmp_path / "list.jsonl").write_text(json.dumps(line))
    longer = replace(no_models, clips=replace(no_models.clips, windows_per_clip=20))
    run_build(tmp_path / "list.jsonl", out=tmp_path / "out", settings=longer)
    (clip,) = open_clips(tmp_path / "out")
    assert clip.json.speakers == ("Ann", "Bob")
    assert clip.json.source.licence == "CC0-1.0"
    audio = clip.audio()
    for channel, source in enumerate([left, right]):
        assert np.abs(audio[channel] - np.round(source[:64_000] * 32768)).max() <= 1
    assert not audio[2].any()
    assert not (clip.activity() & UNRELIABLE).any()
    assert verify_dataset(tmp_path / "out").problems == ()


def test_channels_nobody_names_are_numbered(
    tmp_path: Path, talks: Path, run_build: Run, no_models: Settings
) -> None:
    apart = replace(no_models, ingest=replace(no_models.ingest, channels="per_channel"))
    run_build(talks / "deep.flac", out=tmp_path / "out", settings=apart)
    assert open_clips(tmp_path / "out")[0].json.speakers == ("S1", "S2")
