"""Clips: which windows, which labels, which bytes."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from jsonschema import Draft202012Validator

from corpus.schemas.clip import MEMBERS, ClipHead
from corpus.schemas.codec import from_json
from corpus.schemas.drops import Drop
from corpus.schemas.errors import CorpusError, FormatError
from corpus.schemas.pcm import read_activity
from corpus.schemas.settings import ClipSettings
from corpus.shards.columns import ClipRow, table_rows
from corpus.shards.cut import cut
from corpus.shards.flac import decode_flac
from corpus.shards.mel import mel_bytes
from corpus.shards.plan import SegmentRef
from corpus.shards.tar import END

CutRecording = Callable[..., tuple[SegmentRef, list[Drop]]]


def contents(folder: Path) -> dict[str, dict[str, bytes]]:
    """Members by key and suffix, read by Python's own tar reader."""
    clips: dict[str, dict[str, bytes]] = {}
    data = (folder / "segment.tar").read_bytes() + END
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        for info in tar:
            key, _, suffix = info.name.partition(".")
            clips.setdefault(key, {})[suffix] = tar.extractfile(info).read()  # type: ignore[union-attr]
    return clips


def heads(folder: Path) -> list[ClipHead]:
    return [from_json(ClipHead, clip["json"]) for clip in contents(folder).values()]


def rows(folder: Path) -> tuple[ClipRow, ...]:
    with pa.ipc.open_stream((folder / "rows.arrow").read_bytes()) as stream:
        return tuple(table_rows(stream.read_all()))


def test_clips_are_consecutive_windows_and_never_cross_a_gap(cut_recording: CutRecording) -> None:
    ref, _ = cut_recording(segments=((0, 23), (90, 10), (151, 1)), windows=10)
    found = [(head.first_window, head.windows) for head in heads(ref.folder)]
    assert found == [(0, 10), (10, 10), (20, 3), (90, 10), (151, 1)]
    for head in heads(ref.folder):
        assert (head.start_us, head.stop_us) == (
            head.first_window * 200_000,
            (head.first_window + head.windows) * 200_000,
        )
        assert head.key == f"{head.recording[:20]}-{head.first_window:07d}"


def test_members_of_a_key_are_all_there_in_order(cut_recording: CutRecording) -> None:
    ref, _ = cut_recording("silent", video=False, bare=True)
    for clip in contents(ref.folder).values():
        assert tuple(clip) == MEMBERS
        assert clip["mjpeg"] == b""
        assert json.loads(clip["json"])["video"] is None


def test_sound_mel_and_flags_are_those_of_the_windows(
    make_recording: Callable[..., object], cut_recording: CutRecording, tmp_path: Path
) -> None:
    ref, _ = cut_recording(segments=((0, 23), (90, 14)), windows=10)
    voices = tmp_path / "made" / "talk" / "voices"
    pcm = np.stack([np.fromfile(voices / f"channel-{c}.i16", "<i2") for c in range(3)])
    flags = np.load(voices / "activity.npy")
    gap = np.zeros((3, 400), np.int16)
    parts = (pcm[:, : 23 * 3200], pcm[:, 23 * 3200 :])
    mel = np.concatenate([mel_bytes(np.hstack([gap, part]), 16000) for part in parts], 1)
    at = 0
    for clip, head in zip(contents(ref.folder).values(), heads(ref.folder), strict=True):
        windows = slice(at, at + head.windows)
        sound = decode_flac(clip["flac"])
        assert np.array_equal(sound, pcm[:, at * 3200 : (at + head.windows) * 3200])
        assert np.array_equal(np.load(io.BytesIO(clip["mel.npy"])), mel[:, windows])
        assert np.array_equal(np.load(io.BytesIO(clip["activity.npy"])), flags[:, windows])
        mix = sound.astype(np.int32).sum(axis=0)
        assert head.mix_sha256 == hashlib.sha256(mix.astype("<i4").tobytes()).hexdigest()
        at += head.windows


def test_pictures_tile_the_member(cut_recording: CutRecording, tmp_path: Path) -> None:
    ref, _ = cut_recording(windows=10)
    table = np.load(tmp_path / "made" / "talk" / "decode" / "pictures.npy")
    stream = (tmp_path / "made" / "talk" / "decode" / "pictures.mjpeg").read_bytes()
    for clip, head in zip(contents(ref.folder).values(), heads(ref.folder), strict=True):
        assert head.video is not None
        at = 0
        for k in range(head.windows):
            row = table[head.first_window + k]
            assert (head.video.sizes[k], head.video.pts_us[k]) == (row["size"], row["pts_us"])
            if row["size"] == 0:
                assert head.video.offsets[k] == -1
                continue
            assert head.video.offsets[k] == at
            jpeg = clip["mjpeg"][at : at + head.video.sizes[k]]
            assert jpeg == stream[row["offset"] : row["offset"] + row["size"]]
            at += head.video.sizes[k]
        assert at == len(clip["mjpeg"])


def test_labels_are_in_every_clip_they_reach_with_whole_spans(
    make_recording: Callable[..., object], cut_recording: CutRecording
) -> None:
    ref, _ = cut_recording(windows=10)
    by_id: dict[str, set[object]] = {}
    for head in heads(ref.folder):
        for turn in head.turns:
            assert turn.start_us < head.stop_us
            assert turn.stop_us > head.start_us
            by_id.setdefault(turn.id, set()).add(turn)
    assert all(len(turns) == 1 for turns in by_id.values())
    borders = (2_000_000, 4_000_000)
    crossing = {t for ts in by_id.values() for t in ts if any(t.start_us < b < t.stop_us for b in borders)}
    assert crossing
    for turn in crossing:
        assert sum(turn in head.turns for head in heads(ref.folder)) == 2


def test_what_lasts_no_time_belongs_where_it_stands(
    cut_recording: CutRecording, make_recording: Callable[..., object]
) -> None:
    ref, _ = cut_recording(windows=5)
    assert [len(head.events) for head in heads(ref.folder)] == [0, 1, 0, 0, 0]


def test_what_goes_to_no_clip_is_reported(cut_recording: CutRecording) -> None:
    _, drops = cut_recording(segments=((0, 10), (90, 10)))
    counts = {drop.code: drop.count for drop in drops}
    assert counts["untimed_words"] == 1
    assert counts["turns_outside_windows"] > 20
    assert {drop.kind for drop in drops} == {"trim"}
    assert {drop.item for drop in drops} == {"talk.mp4"}
    _, none = cut_recording("bare", bare=True)
    assert none == []


def test_rows_say_where_the_bytes_stand_and_what_they_hold(cut_recording: CutRecording) -> None:
    ref, _ = cut_recording(windows=10)
    data = (ref.folder / "segment.tar").read_bytes()
    at = 0
    for row, clip in zip(rows(ref.folder), contents(ref.folder).values(), strict=True):
        assert row.offset == at
        assert hashlib.sha256(data[at : at + row.size]).hexdigest() == row.sha256
        for name, offset, size in zip(MEMBERS, row.member_offsets, row.member_sizes, strict=True):
            assert data[offset : offset + size] == clip[name]
        head = from_json(ClipHead, clip["json"])
        assert (row.turns, row.words, row.cues) == (len(head.turns), len(head.words), len(head.cues))
        assert row.pictures == 10 - (row.first_window == 0) - 7 * (row.first_window == 20)
        at += row.size
    assert at == len(data)


def test_speech_and_overlap_are_counted_once(cut_recording: CutRecording) -> None:
    """Turns of 530 ms start every 450 ms from 37 ms on: 80 ms of each two overlap."""
    ref, _ = cut_recording(windows=10)
    first = rows(ref.folder)[0]
    assert first.speech_us == 2_000_000 - 37_000
    assert first.overlap_us == 4 * 80_000


def test_the_json_is_of_its_schema_with_one_type_a_key(cut_recording: CutRecording, repo_root: Path) -> None:
    ref, _ = cut_recording()
    schema = json.loads((repo_root / "schemas" / "json" / "clip.schema.json").read_text("utf-8"))
    for clip in contents(ref.folder).values():
        Draft202012Validator(schema).validate(json.loads(clip["json"]))
    first = next(iter(contents(ref.folder).values()))["json"]
    assert b'"confidence":1.0' in first  # given as the whole number 1


def test_the_same_input_gives_the_same_bytes(make_recording: Callable[..., object], tmp_path: Path) -> None:
    made = make_recording()
    folders = (tmp_path / "a", tmp_path / "b")
    for out in folders:
        out.mkdir()
        _cut(made, out)
    for name in ("segment.tar", "rows.arrow"):
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes()


def _cut(made: object, out: Path, **changed: object) -> list[Drop]:
    made = dataclasses.replace(made, **changed)  # type: ignore[type-var]
    return cut(made, out, split="train", settings=ClipSettings(windows_per_clip=10), config="c")


def test_eight_speakers_are_refused(make_recording: Callable[..., object], tmp_path: Path) -> None:
    made = make_recording(speakers=tuple("abcdefgh"), segments=((0, 2),), bare=True, video=False)
    with pytest.raises(CorpusError, match="8 speakers; a clip holds at most 7"):
        _cut(made, tmp_path)


def test_a_speaker_without_a_channel_is_refused(
    make_recording: Callable[..., object], tmp_path: Path
) -> None:
    made = make_recording(segments=((0, 2),), bare=True, video=False)
    more = dataclasses.replace(made.conversation, speakers=("S1", "S2", "S3"))  # type: ignore[attr-defined]
    with pytest.raises(CorpusError, match="no channel for speakers S3"):
        _cut(made, tmp_path, conversation=more)


def test_a_recording_without_a_whole_window_gives_no_clips(
    make_recording: Callable[..., object], tmp_path: Path
) -> None:
    made = make_recording(segments=((0, 1),), bare=True, video=False)
    none = {
        "decoded": dataclasses.replace(made.decoded, segments=()),  # type: ignore[attr-defined]
        "voices": dataclasses.replace(made.voices, segments=()),  # type: ignore[attr-defined]
    }
    np.save(made.voices_dir / "activity.npy", np.zeros((3, 0, 8), np.uint8))  # type: ignore[attr-defined]
    assert _cut(made, tmp_path, **none) == []
    assert (tmp_path / "segment.tar").read_bytes() == b""
    assert rows(tmp_path) == ()


def test_seven_speakers_and_24_khz(cut_recording: CutRecording) -> None:
    ref, _ = cut_recording(speakers=tuple("abcdefg"), segments=((0, 3),), rate=24000)
    (clip,) = contents(ref.folder).values()
    assert decode_flac(clip["flac"]).shape == (8, 3 * 4800)
    assert np.load(io.BytesIO(clip["mel.npy"])).shape == (8, 3, 8, 80)


@pytest.mark.parametrize("left", [0, 60, 128, 140])
def test_flags_that_are_cut_off_are_named(left: int, make_recording: Any) -> None:
    made = make_recording()
    whole = read_activity(made.voices, made.voices_dir)
    path = made.voices_dir / "activity.npy"
    assert np.array_equal(whole, np.load(path))
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(FormatError, match="build again"):
        read_activity(made.voices, made.voices_dir)
    # A copy does not depend on the file: touching a page of a mapped file that is gone would end the process.
    assert whole.any()
