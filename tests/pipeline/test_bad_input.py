"""Nothing odd takes a build down or is lost without a word. No models run here."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from corpus.pipeline.inputs import gather
from corpus.pipeline.plan import plan
from corpus.pipeline.quarantine import chosen, retry
from corpus.pipeline.request import Request
from corpus.pipeline.state import State
from corpus.schemas.errors import FormatError, NewerSchemaError, StorageError, UsageError
from corpus.schemas.settings import Settings
from corpus.shards.read import open_clips
from corpus.shards.verify import verify_dataset

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def wav(tmp_path_factory: pytest.TempPathFactory, media: ModuleType) -> Path:
    path: Path = tmp_path_factory.mktemp("wav") / "a.wav"
    media.write_media(path, duration_s=2.0, audio=[media.Audio(codec="pcm_s16le", rate_hz=16000)])
    return path


def several(wav: Path, folder: Path, *names: str) -> None:
    """Copies with a byte of their own behind the sound, so that none is a duplicate."""
    folder.mkdir(exist_ok=True)
    for number, name in enumerate(names):
        (folder / name).write_bytes(wav.read_bytes() + bytes([number]))


def test_odd_names_are_kept(wav: Path, tmp_path: Path, run_build: Run) -> None:
    names = ["new\nline.wav", "-dash.wav", "ünï çø 名.wav", " spaces .wav", "a'\"$(b).wav"]
    several(wav, tmp_path / "in", *names)
    outcome = run_build(tmp_path / "in", out=tmp_path / "out")
    assert (outcome.exit_code, outcome.recordings) == (0, len(names))
    assert {c.json.source.uri for c in open_clips(tmp_path / "out")} == set(names)
    assert verify_dataset(tmp_path / "out").problems == ()


def test_a_name_that_is_no_text_is_a_drop(wav: Path, tmp_path: Path, run_build: Run) -> None:
    several(wav, tmp_path / "in", "good.wav")
    try:
        shutil.copy(wav, os.fsencode(tmp_path / "in") + b"/bad\xff.wav")
    except OSError:
        pytest.skip("this file system holds only names in UTF-8")
    outcome = run_build(tmp_path / "in", out=tmp_path / "out")
    assert (outcome.exit_code, outcome.recordings) == (3, 1)
    (fault,) = outcome.faults
    assert (fault.item, fault.code) == ("bad\\udcff.wav", "name_not_utf8")
    status = State(tmp_path / "out").status()
    assert status is not None
    assert (status.phase, status.done, status.recordings, status.faults) == ("done", 1, 2, 1)


def test_things_that_are_no_recordings(wav: Path, tmp_path: Path, run_build: Run) -> None:
    folder = tmp_path / "in"
    several(wav, folder, "good.wav")
    os.mkfifo(folder / "pipe.mp4")
    (folder / "empty.mp4").touch()
    (folder / "text.mp4").write_text("hello")
    (folder / "folder.mp4").mkdir()
    (folder / "dangling.mp4").symlink_to("nowhere")
    outcome = run_build(folder, out=tmp_path / "out")
    assert (outcome.exit_code, outcome.recordings) == (3, 1)
    assert {(d.item, d.code) for d in outcome.faults} == {
        ("pipe.mp4", "not_a_file"),
        ("empty.mp4", "unreadable"),
        ("text.mp4", "unusable"),
        ("dangling.mp4", "unreadable"),
    }
    assert ("folder.mp4", "folder_named_like_media") in {(d.item, d.code) for d in outcome.drops}
    assert verify_dataset(tmp_path / "out").problems == ()


def test_a_mistyped_input_leaves_nothing_behind(tmp_path: Path, run_build: Run) -> None:
    with pytest.raises(UsageError, match="no such file"):
        run_build(tmp_path / "nothing.wav", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


BAD_LINES = {
    "not json": b"not json",
    "a list": b"[1, 2]",
    "a number as uri": b'{"uri": 5}',
    "no uri": b"{}",
    "unknown field": b'{"uri": "a.wav", "nope": 1}',
    "unknown channels": b'{"uri": "a.wav", "channels": "weird"}',
    "missing file": b'{"uri": "gone.wav"}',
    "NaN": b'{"uri": "y", "tracks": [{"uri": "a.wav", "speaker": "A", "offset_us": NaN}]}',
    "no text in a name": b'{"uri": "a\\udcff.wav"}',
    "no text in a field": b'{"uri": "a.wav", "licence": "\\udcff"}',
    "zero byte": b'{"uri": "a\\u0000.wav"}',
    "a folder": b'{"uri": ""}',
    "not UTF-8": b'{"uri": "\xff\xfe"}',
    "deep": b"[" * 100_000,
}


def test_bad_manifest_lines_leave_the_good_ones(wav: Path, tmp_path: Path, run_build: Run) -> None:
    shutil.copy(wav, tmp_path / "a.wav")
    manifest = tmp_path / "m.jsonl"
    manifest.write_bytes(b"\n".join([*BAD_LINES.values(), b"", b'{"uri": "a.wav"}']))
    items, drops = gather([str(manifest)])
    assert [item.uri for item in items] == ["a.wav"]
    assert len(drops) == len(BAD_LINES)
    assert {d.kind for d in drops} == {"fault"}
    outcome = run_build(manifest, out=tmp_path / "out")
    assert (outcome.exit_code, outcome.recordings) == (3, 1)
    assert len(chosen(tmp_path / "out", [])) == len(BAD_LINES)


def test_an_empty_manifest_says_so(tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_text("\n\n")
    items, (drop,) = gather([str(tmp_path / "m.jsonl")])
    assert not items and drop.code == "empty_manifest"


STRANGER = (
    '"schema": "corpus.conversation/1", "recording": "x", "duration_us": 2000000, "speakers": ["A"], '
    '"turns": [{"speaker": "B", "start_us": 0, "stop_us": 9}]'
)
SIDECARS = {
    "negative.rttm": (b"SPEAKER x 1 -1.0 0.5 <NA> <NA> A <NA> <NA>\n", {"negative_time"}),
    "nan.rttm": (b"SPEAKER x 1 nan 0.5 <NA> <NA> A <NA> <NA>\n", {"not_a_number"}),
    "endless.rttm": (b"SPEAKER x 1 0.5 inf <NA> <NA> A <NA> <NA>\n", {"not_a_number"}),
    "past.rttm": (b"SPEAKER x 1 20 1 <NA> <NA> A <NA> <NA>\n", {"past_the_end"}),
    "short.rttm": (b"SPEAKER\n", {"wrong_fields"}),
    "bytes.rttm": (b"\xff\xfe\x00\nSPEAKER x 1 1 0.5 <NA> <NA> A <NA> <NA>\n", {"not_utf8"}),
    "unordered.stm": (b"x 1 A 1.5 1 <o> back\nx 1 A 0.5 1 <o> fine\n", {"unordered_times"}),
    "numbers.ctm": (b"x 1 nan 0.2 hello\nx 1 1.0 0.2 ok\n", {"not_a_number"}),
    "stranger.json": (
        b"{%s}" % STRANGER.encode(),
        {"unknown_speaker"},
    ),
    "newer.json": (b'{"schema": "corpus.conversation/7"}', {"sidecar_unreadable"}),
}


def test_malformed_sidecars_are_used_as_far_as_they_are_sound(
    wav: Path, tmp_path: Path, run_build: Run
) -> None:
    folder = tmp_path / "in"
    several(wav, folder, *(f"{Path(name).stem}.wav" for name in SIDECARS))
    for name, (text, _) in SIDECARS.items():
        (folder / name).write_bytes(text)
    outcome = run_build(folder, out=tmp_path / "out")
    assert (outcome.exit_code, outcome.recordings) == (3, len(SIDECARS))
    for name, (_, codes) in SIDECARS.items():
        assert {d.code for d in outcome.faults if name in d.reason} == codes, name
    assert verify_dataset(tmp_path / "out").problems == ()
    turns = {c.json.source.uri: c.json.turns for c in open_clips(tmp_path / "out")}
    assert [t.speaker for t in turns["bytes.wav"]] == ["A"], "the sound line is used"
    assert turns["negative.wav"] == ()


def test_a_newer_dataset_is_refused_before_any_work(
    wav: Path, tmp_path: Path, run_build: Run, no_models: Settings
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "manifest.json").write_text('{"schema": "corpus.manifest/9"}')
    with pytest.raises(NewerSchemaError, match="newer duplex-corpus"):
        run_build(wav, out=out)
    with pytest.raises(NewerSchemaError):
        plan(Request(inputs=(str(wav),), out=out, settings=no_models))
    assert [p.name for p in out.iterdir()] == ["manifest.json"]


def test_damaged_notes_of_the_last_build_are_looked_past(wav: Path, tmp_path: Path, run_build: Run) -> None:
    out = tmp_path / "out"
    run_build(wav, out=out)
    for name in ("marks.arrow", "published.arrow", "finished.json"):
        (out / ".cache" / name).write_text('{"half": ')
    (out / ".cache" / "name").write_bytes(b"\xff\0")
    outcome = run_build(wav, out=out)
    assert (outcome.exit_code, outcome.unchanged) == (0, False)
    assert run_build(wav, out=out).unchanged


def test_what_another_version_remembers_is_looked_past(wav: Path, tmp_path: Path, run_build: Run) -> None:
    from corpus.pipeline.memory import TABLE_FILE, _schema
    from corpus.schemas.row_file import read_row_file, write_row_file

    out = tmp_path / "out"
    run_build(wav, out=out)
    path = out / ".cache" / TABLE_FILE
    table = read_row_file(path, _schema())
    assert len(table)
    write_row_file(path, table.replace_schema_metadata({b"stamp": b'{"form":"corpus.published/9","new":1}'}))
    (out / ".cache" / "finished.json").unlink()
    assert run_build(wav, out=out).exit_code == 0
    assert run_build(wav, out=out).unchanged


def test_a_damaged_quarantine_says_what_to_do(wav: Path, tmp_path: Path, run_build: Run) -> None:
    out = tmp_path / "out"
    run_build(wav, out=out)
    (out / ".cache" / "quarantine.json").write_text("x")
    with pytest.raises(FormatError, match="remove this file"):
        chosen(out, [])


def test_a_cache_that_cannot_be_written_is_one_clear_line(wav: Path, tmp_path: Path, run_build: Run) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="another --cache"):
        run_build(wav, out=tmp_path / "out", cache=tmp_path / "file" / "cache")


def test_retry_where_the_lock_cannot_be_opened(wav: Path, tmp_path: Path, run_build: Run) -> None:
    """As in a read-only folder; a folder in the lock's place refuses root as well."""
    out = tmp_path / "out"
    run_build(wav, out=out)
    lock = State(out).folder / "lock"
    lock.unlink()
    lock.mkdir()
    with pytest.raises(StorageError, match="cannot write here"):
        retry(out, [], None)  # type: ignore[arg-type]
