"""`verify` finds what is wrong, wherever it is, and never falls over it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from corpus.schemas.activity import OVERLAP, SPEECH
from corpus.schemas.clip import MEMBERS, ClipHead
from corpus.schemas.codec import from_json, to_json
from corpus.schemas.dataset import Manifest
from corpus.schemas.errors import DatasetError, NewerSchemaError
from corpus.shards import check_shard, verify
from corpus.shards.check_clip import CheckedClip
from corpus.shards.columns import ClipRow, rows_table
from corpus.shards.flac import decode_flac, encode_flac
from corpus.shards.npy import npy_bytes, npy_view
from corpus.shards.read import open_clips
from corpus.shards.row import append_clip
from corpus.shards.tar import END
from corpus.shards.verify import VerifyReport, verify_dataset
from corpus.shards.write import read_rows


@pytest.fixture
def copy(whole_dataset: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole_dataset, tmp_path / "copy"))


def codes(report: VerifyReport) -> set[str]:
    return {problem.code for problem in report.problems}


def test_a_whole_dataset_has_no_problems(whole_dataset: Path) -> None:
    seen: list[int] = []
    report = verify_dataset(whole_dataset, progress=seen.append)
    assert report.problems == ()
    assert report.ok
    assert (report.clips, report.windows, report.recordings, report.shards) == (18, 139, 5, 4)
    assert seen == list(range(1, 19))


FILES = (
    "train/train-000000.tar",
    "train/train-000001.tar",
    "validation/validation-000000.tar",
    "test/test-000000.tar",
    "clips.parquet",
    "README.md",
)


@given(data=st.data())
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_flipped_byte_anywhere_is_found(data: st.DataObject, copy: Path) -> None:
    path = copy / data.draw(st.sampled_from(FILES))
    whole = path.read_bytes()
    broken = bytearray(whole)
    place = data.draw(st.integers(0, len(whole) - 1))
    broken[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(broken)
    try:
        assert "sha256" in codes(verify_dataset(copy))
    finally:
        path.write_bytes(whole)


@given(data=st.data())
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damage_is_found_by_more_than_the_hash(data: st.DataObject, copy: Path) -> None:
    """The manifest is made to agree with the damaged shard, so that its content has to give it away."""
    name = data.draw(st.sampled_from(FILES[:4]))
    whole, manifest = (copy / name).read_bytes(), (copy / "manifest.json").read_bytes()
    broken = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 20))):
        broken[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
    if data.draw(st.booleans()):
        broken = broken[: data.draw(st.integers(0, len(broken)))]
    (copy / name).write_bytes(broken)
    agree(copy)
    try:
        assert not verify_dataset(copy).ok or bytes(broken) == whole
    finally:
        (copy / name).write_bytes(whole)
        (copy / "manifest.json").write_bytes(manifest)


def test_a_shard_that_is_cut_off_while_it_is_checked_is_a_problem(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check, shard = check_shard.check_clip, copy / FILES[0]
    checked: list[str] = []

    def cutting(data: memoryview, row: ClipRow, before: CheckedClip | None) -> object:
        checked.append(row.key)
        if len(checked) == 2:
            os.truncate(shard, row.offset + 100)
        return check(data, row, before)

    monkeypatch.setattr(check_shard, "check_clip", cutting)
    report = verify_dataset(copy)
    here = [row.key for row in read_rows(copy) if row.shard == FILES[0]]
    broken = [
        p for p in report.problems if p.code == "clip_broken" and "cut off while it was in use" in p.what
    ]
    assert [p.where for p in broken] == [f"{FILES[0]}: {key}" for key in here[2:]] and len(here) == 3


def agree(out: Path, **changed: object) -> None:
    """Write the manifest anew, with the sizes and hashes the files have now."""
    manifest = from_json(Manifest, (out / "manifest.json").read_bytes())

    def now(entry: object) -> dict[str, object]:
        data = (out / entry.path).read_bytes()  # type: ignore[attr-defined]
        return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}

    shards = tuple(dataclasses.replace(entry, **now(entry)) for entry in manifest.shards)
    files = tuple(dataclasses.replace(entry, **now(entry)) for entry in manifest.files)
    manifest = dataclasses.replace(manifest, **{"shards": shards, "files": files, **changed})  # type: ignore[arg-type]
    (out / "manifest.json").write_text(to_json(manifest, indent=1) + "\n", "utf-8")


Members = dict[str, bytes]


def forge(out: Path, change: Callable[[str, Members], Members]) -> None:
    """Change members and let tar, index, card and manifest agree with it: only the promise is broken."""
    rows = read_rows(out)
    clips = {clip.key: {name: bytes(clip.member(name)) for name in MEMBERS} for clip in open_clips(out)}
    new: list[ClipRow] = []
    for shard in dict.fromkeys(row.shard for row in rows):
        with open(out / shard, "wb") as tar:
            for row in (row for row in rows if row.shard == shard):
                parts = change(row.key, dict(clips[row.key]))
                place = append_clip(tar, tar.tell(), row.key, [parts[name] for name in MEMBERS])
                new.append(dataclasses.replace(row, **dataclasses.asdict(place)))
            tar.write(END)
    write_rows(out, new)


def write_rows(out: Path, rows: list[ClipRow]) -> None:
    pq.write_table(rows_table(rows), out / "clips.parquet", compression="zstd")
    agree(out)


def edit_json(edit: Callable[[dict[str, object]], None], only: int | None = None) -> Callable[..., Members]:
    """Change the heads of all clips (of those that start with window `only`)."""

    def change(key: str, parts: Members) -> Members:
        plain = json.loads(parts["json"])
        if only is None or plain["first_window"] == only:
            edit(plain)
        parts["json"] = json.dumps(plain, ensure_ascii=False, separators=(",", ":")).encode()
        return parts

    return change


def test_forging_nothing_changes_nothing(copy: Path) -> None:
    forge(copy, lambda key, parts: parts)
    forge(copy, edit_json(lambda head: None))
    assert verify_dataset(copy).problems == ()


def louder(key: str, parts: Members) -> Members:
    head = from_json(ClipHead, parts["json"])
    sound = decode_flac(parts["flac"]).copy()
    sound[0, 4000:4800] //= 2
    mix = sound.sum(axis=0, dtype=np.int32).astype("<i4")
    parts["flac"] = encode_flac(sound, head.sample_rate_hz)
    new = dataclasses.replace(head, mix_sha256=hashlib.sha256(mix.tobytes()).hexdigest())
    parts["json"] = to_json(new).encode()
    return parts


def swapped_channels(key: str, parts: Members) -> Members:
    head = from_json(ClipHead, parts["json"])
    parts["flac"] = encode_flac(decode_flac(parts["flac"])[::-1], head.sample_rate_hz)
    return parts


def wrong_rate(key: str, parts: Members) -> Members:
    parts["flac"] = encode_flac(decode_flac(parts["flac"]), 8000)
    return parts


def one_channel_less(key: str, parts: Members) -> Members:
    head = from_json(ClipHead, parts["json"])
    parts["flac"] = encode_flac(decode_flac(parts["flac"])[:-1], head.sample_rate_hz)
    return parts


def changed_array(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[..., Members]:
    def edit(key: str, parts: Members) -> Members:
        parts[name] = npy_bytes(change(npy_view(memoryview(parts[name])).copy()))
        return parts

    return edit


def one_level(mel: np.ndarray) -> np.ndarray:
    mel[-1, -1, 3, 40] ^= 1
    return mel


def first_frame(mel: np.ndarray) -> np.ndarray:
    mel[:, 0, 0] += 1
    return mel


def toggled(bit: int) -> Callable[[np.ndarray], np.ndarray]:
    def change(flags: np.ndarray) -> np.ndarray:
        flags[0, 0, 5] ^= bit
        return flags

    return change


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (louder, "mel"),
        (swapped_channels, "mel"),
        (wrong_rate, "sample_rate"),
        (one_channel_less, "sound_shape"),
        (changed_array("mel.npy", one_level), "mel"),
        (changed_array("mel.npy", first_frame), "mel"),
        (changed_array("mel.npy", lambda mel: mel[:, :, :7]), "mel_shape"),
        (changed_array("activity.npy", toggled(SPEECH)), "activity"),
        (changed_array("activity.npy", toggled(OVERLAP)), "activity"),
        (changed_array("activity.npy", toggled(64)), "activity"),
        (changed_array("activity.npy", lambda flags: flags[:-1]), "activity_shape"),
    ],
)
def test_sound_and_arrays_must_agree(copy: Path, change: Callable[..., Members], code: str) -> None:
    forge(copy, change)
    assert code in codes(verify_dataset(copy))


def set_(*path: str | int, to: object) -> Callable[[dict[str, object]], None]:
    def edit(plain: dict[str, object]) -> None:
        place: object = plain
        for step in path[:-1]:
            place = place[step]  # type: ignore[index]
            if place is None or place == []:
                return
        if not isinstance(place, list) or path[-1] < len(place):  # type: ignore[operator]
            place[path[-1]] = to  # type: ignore[index]

    return edit


def whole_number(plain: dict[str, object]) -> None:
    plain["mel"]["step"] = 1  # type: ignore[index]


def drop_crossing(plain: dict[str, object]) -> None:
    plain["turns"] = [t for t in plain["turns"] if t["stop_us"] < plain["stop_us"]]  # type: ignore[index,attr-defined]


@pytest.mark.parametrize(
    ("edit", "code"),
    [
        (set_("mix_sha256", to="0" * 64), "mix"),
        (set_("start_us", to=200_000), "head"),
        (set_("stop_us", to=5), "times"),
        (set_("windows", to=9), "times"),
        (set_("split", to="test"), "row"),
        (set_("key", to="x-0000000"), "head"),
        (set_("recording", to="a" * 64), "head"),
        (set_("mel", "low", to=-7.0), "head"),
        (whole_number, "json_form"),
        (set_("mel", "unasked", to=1), "clip_broken"),
        (set_("schema", to="corpus.clip/99"), "clip_broken"),
        (set_("turns", 0, "id", to=""), "ids"),
        (set_("turns", 0, "speaker", to="Nobody"), "clip_broken"),
        (set_("turns", 0, "stop_us", to=10**9), "border"),
        (set_("words", 0, "start_us", to=10**17), "clip_broken"),
        (drop_crossing, "border"),
        (set_("video", "sizes", 3, to=5), "pictures"),
        (set_("video", "offsets", 3, to=5), "pictures"),
        (set_("video", "pts_us", 3, to=10**9), "pictures"),
        (set_("video", "pts_us", 3, to=3), "pictures"),
        (set_("video", "flags", 3, to=2), "pictures"),
        (set_("video", "flags", 3, to=1), "pictures"),
        (set_("video", "width", to=120), "pictures"),
        (set_("video", "width", to=81), "picture_size"),
        (set_("video", "flags", to=[]), "pictures"),
        (set_("video", to=None), "pictures"),
        (set_("words", to=[]), "row"),
        (set_("source", "licence", to="mine"), "row"),
        (set_("source", "sha256", to="b" * 64), "head"),
    ],
)
def test_heads_must_tell_the_truth(copy: Path, edit: Callable[[dict[str, object]], None], code: str) -> None:
    forge(copy, edit_json(edit))
    assert code in codes(verify_dataset(copy))


def test_members_out_of_order_are_found(copy: Path) -> None:
    shard = copy / "test" / "test-000000.tar"
    data = shard.read_bytes()
    shard.write_bytes(data.replace(b".mel.npy", b".lem.npy"))
    agree(copy)
    assert {"tar", "clip_list"} & codes(verify_dataset(copy))


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda rows: [dataclasses.replace(r, conversation="same") for r in rows], "split_conversation"),
        (lambda rows: [dataclasses.replace(r, named_speakers=("Ann",)) for r in rows], "split_speaker"),
        (lambda rows: rows[::-1], "order"),
        (lambda rows: rows[1:], "figures"),
        (lambda rows: [*rows, rows[-1]], "keys"),
        (lambda rows: [dataclasses.replace(r, offset=r.offset + 512) for r in rows], "place"),
        (lambda rows: [dataclasses.replace(r, sha256="0" * 64) for r in rows], "place"),
        (lambda rows: [dataclasses.replace(r, speech_us=1) for r in rows], "row"),
        (lambda rows: [dataclasses.replace(r, mix_peak=2.0) for r in rows], "row"),
        (lambda rows: [dataclasses.replace(r, member_offsets=(1, 2)) for r in rows], "clip_broken"),
        (lambda rows: [dataclasses.replace(r, member_sizes=(10**15,) * 5) for r in rows], "clip_broken"),
        (lambda rows: [dataclasses.replace(r, licence="other") for r in rows], "card"),
    ],
)
def test_the_index_must_tell_the_truth(
    copy: Path, change: Callable[[list[ClipRow]], list[ClipRow]], code: str
) -> None:
    write_rows(copy, change(read_rows(copy)))
    assert code in codes(verify_dataset(copy))


def test_a_recording_on_two_sides_is_found(copy: Path) -> None:
    rows = read_rows(copy)
    recording = rows[-1].recording
    write_rows(copy, [dataclasses.replace(row, recording=recording) for row in rows])
    assert "split_recording" in codes(verify_dataset(copy))


def test_files_nobody_promised_are_found(copy: Path) -> None:
    for name in ("catalog.duckdb", "labels.duckdb", "labels.duckdb.wal", "report.html", ".lock", "build.log"):
        (copy / name).write_bytes(b"beside")
    (copy / ".cache").mkdir()
    (copy / ".cache" / "x").write_bytes(b"beside")
    assert verify_dataset(copy).ok
    (copy / "train" / "train-000002.tar").write_bytes(END)
    (copy / "more").mkdir()
    (copy / "more" / "notes.txt").write_bytes(b"?")
    problems = verify_dataset(copy).problems
    assert [(p.code, p.where) for p in problems] == [
        ("extra_file", "more/notes.txt"),
        ("extra_file", "train/train-000002.tar"),
    ]


def test_missing_files_are_found(copy: Path) -> None:
    (copy / "test" / "test-000000.tar").unlink()
    (copy / "README.md").unlink()
    assert {"missing_file"} <= codes(verify_dataset(copy))
    (copy / "clips.parquet").unlink()
    assert {"missing_file", "index_broken"} <= codes(verify_dataset(copy))


def test_without_a_manifest_there_is_no_dataset(copy: Path) -> None:
    text = (copy / "manifest.json").read_text("utf-8")
    (copy / "manifest.json").write_text(text.replace("corpus.manifest/1", "corpus.manifest/2"), "utf-8")
    with pytest.raises(NewerSchemaError):
        verify_dataset(copy)
    (copy / "manifest.json").write_text("{", "utf-8")
    assert codes(verify_dataset(copy)) == {"manifest_broken"}
    (copy / "manifest.json").unlink()
    with pytest.raises(DatasetError, match="no finished dataset"):
        verify_dataset(copy)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"clips": 17}, "figures"),
        ({"windows": 1}, "figures"),
        ({"clip_schema": "corpus.clip/9"}, "manifest_form"),
        ({"settings": "{}}"}, "settings"),
        ({"config": "d"}, "card"),
        ({"files": ()}, "manifest_files"),
        ({"shards": ()}, "shard_list"),
    ],
)
def test_the_manifest_must_tell_the_truth(copy: Path, change: dict[str, object], code: str) -> None:
    agree(copy, **change)
    assert code in codes(verify_dataset(copy))


@pytest.mark.parametrize("part_clips", [1, 5])
def test_the_same_is_found_in_parts_and_by_other_processes(
    copy: Path, monkeypatch: pytest.MonkeyPatch, part_clips: int
) -> None:
    """A clip leans on the one before it, which may be in another part or shard."""
    shard = copy / "train" / "train-000000.tar"
    data = bytearray(shard.read_bytes())
    for place in range(20_000, len(data), 150_000):
        data[place] ^= 4
    shard.write_bytes(data)
    one = verify_dataset(copy, num_workers=1)
    assert one.problems
    monkeypatch.setattr(verify, "PART_CLIPS", part_clips)
    assert verify_dataset(copy, num_workers=1) == one
    if part_clips == 5:
        monkeypatch.setattr(verify, "WORTH_WORKERS_BYTES", 0)
        seen: list[int] = []
        assert verify_dataset(copy, num_workers=2, progress=seen.append) == one
        assert seen == sorted(seen) and seen[-1] == one.clips


SLEEPER = """
import time
from pathlib import Path

class Job:
    bytes = 1 << 30

def sleep_long(job):
    (Path(__file__).parent / f"sleeping-{time.monotonic_ns()}").touch()
    time.sleep(120)
"""
SCRIPT = """
import signal, sys
from pathlib import Path
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
sys.path.insert(0, {folder!r})
from sleeper import Job, sleep_long
from corpus.shards.verify import _side_by_side
with open(Path({folder!r}) / "ran", "a") as log:
    log.write("once ")
list(_side_by_side(sleep_long, [Job(), Job()], 2))
"""


def _wait_for_sleepers(folder: Path, parent: subprocess.Popen[bytes]) -> None:
    deadline_s = time.monotonic() + 60
    while len(list(folder.glob("sleeping-*"))) < 2:
        assert time.monotonic() < deadline_s and parent.poll() is None
        time.sleep(0.05)


def test_a_killed_verify_leaves_no_worker_behind(tmp_path: Path) -> None:
    """Nor do its workers run the script that calls it once more."""
    (tmp_path / "sleeper.py").write_text(SLEEPER)
    (tmp_path / "script.py").write_text(SCRIPT.format(folder=str(tmp_path)))
    with subprocess.Popen([sys.executable, str(tmp_path / "script.py")], stderr=subprocess.DEVNULL) as parent:
        _wait_for_sleepers(tmp_path, parent)
        children = psutil.Process(parent.pid).children(recursive=True)
        parent.kill()
    assert (tmp_path / "ran").read_text() == "once "
    deadline_s = time.monotonic() + 20
    while any(c.is_running() and c.status() != psutil.STATUS_ZOMBIE for c in children):
        assert time.monotonic() < deadline_s, "workers outlived the command"
        time.sleep(0.05)


def test_an_interrupted_verify_does_not_wait_for_its_workers(tmp_path: Path) -> None:
    (tmp_path / "sleeper.py").write_text(SLEEPER)
    (tmp_path / "script.py").write_text(SCRIPT.format(folder=str(tmp_path)))
    with subprocess.Popen([sys.executable, str(tmp_path / "script.py")], stderr=subprocess.DEVNULL) as parent:
        _wait_for_sleepers(tmp_path, parent)
        parent.send_signal(signal.SIGINT)
        assert parent.wait(timeout=30) != 0
