"""Clips by index and key, lazily; clear errors where a dataset is not whole."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import pickle
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from corpus.schemas.clip import MEMBERS, ClipHead
from corpus.schemas.errors import DatasetError, FormatError, NewerSchemaError, StorageError, UsageError
from corpus.shards.flac import decode_flac
from corpus.shards.jpeg import _decode_by_av, _decode_by_pillow, decode_jpeg
from corpus.shards.read import Clip, open_clips


@pytest.fixture
def copy(whole_dataset: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole_dataset, tmp_path / "copy"))


def plain(out: Path, split: str) -> dict[str, bytes]:
    """Members of a split by name, read by Python's own tar reader."""
    found = {}
    for path in sorted((out / split).glob("*.tar")):
        with tarfile.open(path) as tar:
            found |= {info.name: tar.extractfile(info).read() for info in tar}  # type: ignore[union-attr]
    return found


def test_every_member_is_that_of_the_tar(whole_dataset: Path) -> None:
    for split in ("train", "validation", "test"):
        expected = plain(whole_dataset, split)
        clips = open_clips(whole_dataset, split=split)
        got = {f"{clip.key}.{name}": bytes(clip.member(name)) for clip in clips for name in MEMBERS}
        assert got == expected
        assert list(got) == list(expected)


def test_index_key_slice_and_iteration_agree(whole_dataset: Path) -> None:
    clips = open_clips(whole_dataset)
    keys = clips.keys()
    assert len(clips) == len(keys) == 18
    assert [clip.key for clip in clips] == keys
    assert clips[keys[3]].key == clips[3].key == clips[3 - len(clips)].key
    assert [clip.key for clip in clips[2:5]] == keys[2:5]
    assert keys[0] in clips
    assert "nobody" not in clips
    with pytest.raises(KeyError):
        clips["nobody"]
    for place in (len(clips), -len(clips) - 1):
        with pytest.raises(IndexError):
            clips[place]


def test_splits_are_apart(whole_dataset: Path) -> None:
    sizes = {split: len(open_clips(whole_dataset, split=split)) for split in ("train", "validation", "test")}
    assert sum(sizes.values()) == len(open_clips(whole_dataset))
    assert {clip.json.split for clip in open_clips(whole_dataset, split="validation")} == {"validation"}
    assert len(open_clips(whole_dataset, split="nothing")) == 0


def test_heads_are_typed_and_parsed_once(whole_dataset: Path) -> None:
    clip = open_clips(whole_dataset)[0]
    assert isinstance(clip.json, ClipHead)
    assert clip.json is clip.json
    assert json.loads(clip.json_bytes)["key"] == clip.key == clip.json.key


def test_arrays_have_their_shapes_and_are_views(whole_dataset: Path) -> None:
    for clip in open_clips(whole_dataset):
        head = clip.json
        channels = len(head.speakers) + 1
        assert clip.mel().shape == (channels, head.windows, 8, 80)
        assert clip.activity().shape == (channels, head.windows, 8)
        assert clip.audio().shape == (channels, head.windows * head.sample_rate_hz // 5)
        for view in (clip.mel(), clip.activity()):
            assert not view.flags.writeable
            assert not view.flags.owndata
        assert np.array_equal(clip.audio(), decode_flac(bytes(clip.member("flac"))))
        assert np.array_equal(clip.mel(), np.load(io.BytesIO(clip.member("mel.npy"))))


def test_pictures_are_those_of_their_windows(whole_dataset: Path) -> None:
    seen = 0
    for clip in open_clips(whole_dataset):
        video = clip.json.video
        for window in range(clip.json.windows):
            picture = clip.picture(window)
            if video is None or video.sizes[window] == 0:
                assert picture is None
                assert clip.jpeg(window) is None
                continue
            assert picture is not None
            assert (picture.shape, picture.dtype) == ((40, 80, 3), np.uint8)
            # the bar of the made pictures stands at 8 pixels times the window's place in the recording
            if clip.json.first_window < 90:
                bar = (clip.json.first_window + window) * 8 % 72
                assert abs(int(picture[:, :, 0].mean(axis=0).argmax()) - bar) <= 8
            seen += 1
        with pytest.raises(IndexError):
            clip.jpeg(clip.json.windows)
    assert seen > 80


def test_all_decoders_see_the_same_picture(whole_dataset: Path) -> None:
    jpegs = [j for clip in open_clips(whole_dataset) if (j := clip.jpeg(1)) is not None]
    for jpeg in jpegs:
        assert np.array_equal(decode_jpeg(jpeg), _decode_by_pillow(jpeg, ""))
    one, two = decode_jpeg(jpegs[0]).astype(int), _decode_by_av(jpegs[0], "").astype(int)
    assert one.shape == two.shape
    assert np.abs(one - two).mean() < 4  # their chroma upsampling differs


def test_a_jpeg_is_found_without_the_typed_head(whole_dataset: Path) -> None:
    for clip in open_clips(whole_dataset):
        video, found = clip.json.video, [clip.jpeg(k) for k in range(clip.json.windows)]
        data = bytes(clip.member("mjpeg"))
        if video is None:
            assert not any(found)
            continue
        places = zip(video.offsets, video.sizes, strict=True)
        assert found == [data[at : at + size] if size else None for at, size in places]


@pytest.mark.parametrize(
    "video",
    [{"offsets": [0], "sizes": [1]}, {"offsets": [-5, 0], "sizes": [3, 0]}, {"sizes": [1, 1]}, "no table"],
)
def test_a_head_that_lists_no_pictures_is_a_format_error(video: object) -> None:
    head = json.dumps({"windows": 2, "video": video}).encode()
    clip = Clip.of_members("k-0000000", [head, b"", b"", b"", b"abc"])
    with pytest.raises(FormatError):
        clip.jpeg(0)


@pytest.mark.parametrize(
    "decode", [decode_jpeg, lambda data: _decode_by_pillow(data, ""), lambda data: _decode_by_av(data, "")]
)
def test_a_broken_picture_is_a_format_error(decode: object) -> None:
    with pytest.raises(FormatError, match="JPEG"):
        decode(b"\xff\xd8 no picture")  # type: ignore[operator]


def test_clips_travel_to_another_process(whole_dataset: Path) -> None:
    clips = open_clips(whole_dataset)
    first = bytes(clips[0].member("json"))
    again = pickle.loads(pickle.dumps(clips))
    assert bytes(again[0].member("json")) == first


def test_no_manifest_is_no_dataset(copy: Path) -> None:
    (copy / "manifest.json").unlink()
    with pytest.raises(DatasetError, match=r"manifest\.json is missing"):
        open_clips(copy)
    with pytest.raises(DatasetError):
        open_clips(copy / "nowhere")


def test_a_newer_dataset_says_so(copy: Path) -> None:
    text = (copy / "manifest.json").read_text("utf-8")
    (copy / "manifest.json").write_text(text.replace("corpus.manifest/1", "corpus.manifest/7"), "utf-8")
    with pytest.raises(NewerSchemaError, match=r"corpus\.manifest/7"):
        open_clips(copy)


def test_a_shard_cut_off_says_so(copy: Path) -> None:
    shard = copy / "validation" / "validation-000000.tar"
    shard.write_bytes(shard.read_bytes()[:-2000])
    clips = open_clips(copy)
    assert clips[0].json.split == "train"
    with pytest.raises(DatasetError, match=r"validation-000000\.tar: holds .* bytes, the manifest says"):
        open_clips(copy, split="validation")[0]


def test_a_missing_shard_and_a_changed_index_say_so(copy: Path) -> None:
    (copy / "test" / "test-000000.tar").unlink()
    with pytest.raises(DatasetError, match="missing"):
        open_clips(copy, split="test")[0]
    (copy / "clips.parquet").write_bytes(b"PAR1")
    with pytest.raises(DatasetError, match=r"clips\.parquet"):
        open_clips(copy)


def test_a_changed_byte_is_named_before_the_shard_is_used(copy: Path) -> None:
    """Where it is asked for; without, whoever reads has to see for himself."""
    shard = copy / "validation" / "validation-000000.tar"
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    assert open_clips(copy, split="validation")[0].key
    with pytest.raises(DatasetError, match=r"validation-000000\.tar: does not match"):
        open_clips(copy, split="validation", check=True)[0]
    checked = open_clips(copy, split="train", check=True)
    assert checked[0].key == open_clips(copy, split="train")[0].key


CUT_OFF = "the file was cut off while it was in use"


@pytest.mark.parametrize("kept", [0, 1000, 70_000])
def test_a_shard_that_is_cut_off_between_two_reads_is_named(copy: Path, kept: int) -> None:
    """Also to what an array held before showed: it was read, and stays."""
    shard = copy / "validation" / "validation-000000.tar"
    clips = open_clips(copy, split="validation")
    clip = clips[0]
    mel = clip.mel()
    before = mel.copy()
    os.truncate(shard, kept)
    last = clips[len(clips) - 1]
    lost: list[Callable[[], object]] = [last.mel, last.audio, last.activity, lambda: last.json]
    if kept < 1000:
        lost += [clip.mel, clip.audio, clip.mel_shape, lambda: clip.picture(0), lambda: clip.audio_end(400)]
    for read in lost:
        with pytest.raises(FormatError, match=CUT_OFF) as raised:
            read()
        assert raised.value.where == str(shard)
    assert (mel == before).all()


def test_a_shard_that_is_cut_off_in_the_midst_of_a_read_is_named(copy: Path) -> None:
    """In a process of its own, which a missing page of a mapped file would kill by SIGBUS."""
    code = """
import os, sys, threading
from corpus.schemas.errors import FormatError
from corpus.shards.read import open_clips
shard = f"{sys.argv[1]}/validation/validation-000000.tar"
whole = open(shard, "rb").read()
def cut():
    while not done.is_set():
        os.truncate(shard, 2000)
        with open(shard, "r+b") as file:
            file.write(whole)
done = threading.Event()
cutter = threading.Thread(target=cut)
clips = open_clips(sys.argv[1], split="validation")
clip = clips[len(clips) - 1]
truth = clip.mel().tobytes()
cutter.start()
named = right = 0
while named < 50 or right < 50:
    try:
        assert clip.mel().tobytes() == truth
        right += 1
    except FormatError as error:
        assert error.what == "the file was cut off while it was in use", error
        named += 1
done.set()
cutter.join()
"""
    asked = [sys.executable, "-c", code, str(copy)]
    ran = subprocess.run(asked, capture_output=True, text=True, check=False, timeout=100)
    assert ran.returncode == 0, ran.stderr


def test_what_a_disk_cannot_read_is_named(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = open_clips(copy)[0]

    def broken(handle: int, size: int, start: int) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "pread", broken)
    with pytest.raises(
        StorageError, match=r"train-000000\.tar: bytes \d+ to \d+ cannot be read: Input/output"
    ):
        clip.mel()


def test_a_read_that_a_signal_ends_early_goes_on(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip, pread = open_clips(copy)[0], os.pread
    truth = clip.mel().copy()
    monkeypatch.setattr(os, "pread", lambda handle, size, start: pread(handle, min(size, 777), start))
    assert (clip.mel() == truth).all()


def test_a_shard_let_go_is_closed(copy: Path) -> None:
    def handles() -> int:
        links = [os.readlink(path) for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
        return sum(str(copy) in link for link in links)

    clips = open_clips(copy)
    held = [clip for clip in clips if clip.mel_shape()]
    assert handles() > 0
    del clips, held
    assert handles() == 0


def test_speakers_and_pictures_are_those_of_the_clips(whole_dataset: Path) -> None:
    for split in (None, "train", "validation"):
        clips = open_clips(whole_dataset, split=split)
        assert clips.speakers.tolist() == [len(clip.json.speakers) for clip in clips]
        seen = [sum(size > 0 for size in clip.json.video.sizes) if clip.json.video else 0 for clip in clips]
        assert clips.pictures.tolist() == seen
    digest = hashlib.sha256((whole_dataset / "manifest.json").read_bytes()).hexdigest()
    assert open_clips(whole_dataset).digest == digest


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("meeting.mp4", 0),
        ("meet", 0),
        ("meeting.mp4@0:03", 1),
        ("meet@0:00:04.1", 2),
        ("meeting.mp4@1.999", 0),
    ],
)
def test_a_clip_is_found_by_its_recordings_name(name: str, place: int) -> None:
    clips = open_clips(Path(__file__).parents[1] / "fixtures" / "dataset-1")
    assert clips.find(name).key == clips.keys()[place]


def test_a_clip_is_found_by_its_key_and_else_it_says_what_is_near() -> None:
    clips = open_clips(Path(__file__).parents[1] / "fixtures" / "dataset-1")
    keys = clips.keys()
    assert clips.find(keys[1]).key == keys[1]
    assert clips.find(keys[2][:27]).key == keys[2]
    for name, complaint in (
        ("zzz", "no clip 'zzz'"),
        ("", "no clip ''"),
        ("eeting.mp4", "no clip"),
        ("meeting.mp4@1:00", "no clip of meeting.mp4 holds 1:00"),
        ("meeting.mp4@x", "no clip"),
        (keys[0][:20], "may be"),
    ):
        with pytest.raises(UsageError, match=complaint):
            clips.find(name)
