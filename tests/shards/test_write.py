"""Shards, index and manifest: what they hold, what is left alone, and what a killed write leaves."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from corpus.schemas.codec import from_json, to_json
from corpus.schemas.dataset import Manifest
from corpus.schemas.errors import DatasetError, FormatError, NewerSchemaError, StorageError
from corpus.schemas.files import sha256_file, storage_errors
from corpus.schemas.settings import Settings
from corpus.shards.columns import table_rows
from corpus.shards.copy import DamagedClipError
from corpus.shards.old import Intact, Old
from corpus.shards.plan import SegmentRef
from corpus.shards.verify import verify_dataset
from corpus.shards.write import Stays, write_dataset

NAMES = ("one", "two", "three", "four")


def state(out: Path) -> dict[str, tuple[int, int]]:
    """Inode and time of every file: what a rename or a write changes."""
    paths = [path for path in sorted(out.rglob("*")) if path.is_file()]
    return {path.relative_to(out).as_posix(): (path.stat().st_ino, path.stat().st_mtime_ns) for path in paths}


def content(out: Path) -> dict[str, bytes]:
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file()
    }


def test_the_manifest_tells_the_truth(
    refs: list[SegmentRef], small_settings: Settings, tmp_path: Path
) -> None:
    out = tmp_path / "OUT"
    manifest = write_dataset(out, refs, settings=small_settings, config="c")
    assert from_json(Manifest, (out / "manifest.json").read_bytes()) == manifest
    for entry in (*manifest.shards, *manifest.files):
        data = (out / entry.path).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (entry.bytes, entry.sha256)
    assert manifest.recordings == 4
    assert manifest.windows == sum(23 + 7 * seed for seed in range(4))
    assert [s.path for s in manifest.shards] == [
        "train/train-000000.tar",
        "train/train-000001.tar",
        "validation/validation-000000.tar",
    ]
    assert all(shard.bytes <= 1024 * 1024 * 3 // 2 for shard in manifest.shards)


def test_clips_are_in_key_order_whatever_the_order_given(
    refs: list[SegmentRef], small_settings: Settings, tmp_path: Path
) -> None:
    write_dataset(tmp_path / "a", refs, settings=small_settings, config="c")
    write_dataset(tmp_path / "b", refs[::-1], settings=small_settings, config="c")
    assert content(tmp_path / "a") == content(tmp_path / "b")
    table = pq.read_table(tmp_path / "a" / "clips.parquet", columns=["split", "key"]).to_pylist()
    for split in ("train", "validation"):
        keys = [row["key"] for row in table if row["split"] == split]
        assert keys == sorted(keys)


def test_nothing_changed_touches_nothing(
    refs: list[SegmentRef], small_settings: Settings, tmp_path: Path
) -> None:
    out = tmp_path / "OUT"
    first = write_dataset(out, refs, settings=small_settings, config="c")
    before = state(out)
    assert write_dataset(out, refs, settings=small_settings, config="c") == first
    assert state(out) == before


def test_a_new_recording_leaves_whole_shards_alone(
    refs: list[SegmentRef], small_settings: Settings, tmp_path: Path
) -> None:
    out = tmp_path / "OUT"
    ordered = sorted(refs, key=lambda ref: ref.recording)
    write_dataset(out, [r for r in ordered if r.split == "train"], settings=small_settings, config="c")
    before = state(out)
    write_dataset(out, refs, settings=small_settings, config="c")
    after = state(out)
    assert all(after[path] == before[path] for path in before if path.startswith("train/"))
    assert "validation/validation-000000.tar" in after
    assert verify_dataset(out).ok


def test_shards_of_an_older_build_are_removed(
    refs: list[SegmentRef], small_settings: Settings, tmp_path: Path
) -> None:
    out = tmp_path / "OUT"
    write_dataset(out, refs, settings=small_settings, config="c")
    (out / "train" / "train-000009.tar").write_bytes(b"old")
    (out / "train" / "train-000000.tar.writing").write_bytes(b"half")
    fewer = [ref for ref in refs if ref.split == "train"][:1]
    write_dataset(out, fewer, settings=small_settings, config="c")
    assert sorted(p.relative_to(out).as_posix() for p in out.rglob("*.tar*")) == ["train/train-000000.tar"]
    assert not (out / "validation").exists()
    assert verify_dataset(out).ok


def test_a_lost_shard_is_written_again(
    refs: list[SegmentRef], small_settings: Settings, tmp_path: Path
) -> None:
    out = tmp_path / "OUT"
    write_dataset(out, refs, settings=small_settings, config="c")
    whole = content(out)
    (out / "train" / "train-000001.tar").unlink()
    write_dataset(out, refs, settings=small_settings, config="c")
    assert content(out) == whole


def test_progress_ends_at_the_bytes_of_the_shards(
    refs: list[SegmentRef], small_settings: Settings, tmp_path: Path
) -> None:
    seen: list[int] = []
    manifest = write_dataset(
        tmp_path / "OUT", refs, settings=small_settings, config="c", progress=seen.append
    )
    assert seen == sorted(seen)
    assert seen[-1] == sum(shard.bytes for shard in manifest.shards)


KILLED = """
import os, sys
from pathlib import Path
from corpus.schemas.codec import from_json
from corpus.schemas.settings import Settings
from corpus.shards.plan import SegmentRef
from corpus.shards.write import write_dataset
import pyarrow.parquet

out, after, refs = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3].split(",")
segments = []
for folder, recording, split, digest in (ref.split("|") for ref in refs):
    segments.append(SegmentRef(folder=Path(folder), recording=recording, split=split, digest=digest))
settings = from_json(Settings, sys.argv[4])
count = 0

def hook(event, args):
    global count
    changes = event in ("os.rename", "os.remove", "os.mkdir", "os.rmdir")
    if changes or (event == "open" and str(out) in str(args[0])):
        count += 1
        if count == after:
            os._exit(9)

sys.addaudithook(hook)
write_dataset(out, segments, settings=settings, config="c")
"""


def killed_write(out: Path, refs: list[SegmentRef], settings: Settings, after: int) -> int:
    """Write in another process that dies without a word at its n-th touch of the disk."""
    listed = ",".join(f"{r.folder}|{r.recording}|{r.split}|{r.digest}" for r in refs)
    code = [sys.executable, "-c", KILLED, str(out), str(after), listed, to_json(settings)]
    return subprocess.run(code, check=False).returncode


@pytest.mark.parametrize(
    ("older", "places"),
    [
        (False, range(1, 40, 7)),
        (True, range(2, 40, 7)),
        pytest.param(False, range(1, 60), marks=pytest.mark.slow),
        pytest.param(True, range(1, 60), marks=pytest.mark.slow),
    ],
)
def test_a_killed_write_never_looks_whole_and_is_finished_by_the_next(
    older: bool, places: range, refs: list[SegmentRef], small_settings: Settings, tmp_path: Path
) -> None:
    write_dataset(tmp_path / "unbroken", refs, settings=small_settings, config="c")
    expected = content(tmp_path / "unbroken")
    out = tmp_path / "OUT"
    deaths = 0
    for after in places:
        shutil.rmtree(out, ignore_errors=True)
        if older:
            write_dataset(out, refs[1:], settings=small_settings, config="c")
        died = killed_write(out, refs, small_settings, after) == 9
        deaths += died
        if (out / "manifest.json").exists():
            assert verify_without_leftovers(out)
        write_dataset(out, refs, settings=small_settings, config="c")
        assert content(out) == expected, after
        if not died:
            break
    assert deaths >= 3


def verify_without_leftovers(out: Path) -> bool:
    """Whole but for files under temporary names, which nothing reads."""
    return all(p.where.endswith(".writing") for p in verify_dataset(out).problems)


def test_what_a_killed_write_finished_is_not_written_again(
    refs: list[SegmentRef], small_settings: Settings, tmp_path: Path
) -> None:
    out = tmp_path / "OUT"
    write_dataset(out, refs, settings=small_settings, config="c")
    (out / "manifest.json").unlink()
    before = state(out)
    write_dataset(out, refs, settings=small_settings, config="c")
    after = state(out)
    shards = [path for path in before if path.endswith(".tar")]
    assert [after[path] for path in shards] == [before[path] for path in shards]


def test_a_damaged_shard_without_a_manifest_is_written_again(
    refs: list[SegmentRef], small_settings: Settings, tmp_path: Path
) -> None:
    out = tmp_path / "OUT"
    write_dataset(out, refs, settings=small_settings, config="c")
    whole = content(out)
    (out / "manifest.json").unlink()
    shard = out / "train" / "train-000000.tar"
    data = bytearray(shard.read_bytes())
    data[5000] ^= 1
    shard.write_bytes(data)
    write_dataset(out, refs, settings=small_settings, config="c")
    assert content(out) == whole


def standing(out: Path, doubted: set[str], refs: list[SegmentRef]) -> frozenset[str]:
    old, intact = Old.read(out, doubted), Intact.read(out, doubted)
    assert old is not None and intact is not None
    found = old.standing(out, [ref.recording for ref in refs])
    # Nobody asks an intact dataset about recordings that it does not hold.
    assert intact.standing([ref.recording for ref in refs if ref.recording in found]) == found
    return found


def stays(refs: list[SegmentRef], gone: tuple[SegmentRef, ...] = ()) -> Stays:
    """These recordings stay, and those go, of all that there are."""
    return Stays(gone=[one.recording for one in gone], segments=b"".join(ref.id for ref in refs))


@pytest.mark.parametrize("name", NAMES)
def test_what_stands_is_taken_from_its_shards_and_gives_the_same_bytes(
    name: str, refs: list[SegmentRef], small_settings: Settings, tmp_path: Path
) -> None:
    """One recording more, and one fewer, without the segments of the others: as a build of all."""
    out = tmp_path / "OUT"
    added = refs[NAMES.index(name)]
    others = [ref for ref in refs if ref is not added]
    write_dataset(tmp_path / "whole", refs, settings=small_settings, config="c")
    write_dataset(out, others, settings=small_settings, config="c")
    before = content(out)
    for ref in others:
        shutil.rmtree(ref.folder)
    assert standing(out, set(), refs) == {ref.recording for ref in others}
    write_dataset(out, [added], settings=small_settings, config="c", stays=stays(others))
    assert content(out) == content(tmp_path / "whole")
    shutil.rmtree(added.folder)
    write_dataset(out, [], settings=small_settings, config="c", stays=stays(others, (added,)))
    assert content(out) == before


def test_a_clip_that_the_disk_has_changed_is_not_copied(
    refs: list[SegmentRef], small_settings: Settings, tmp_path: Path
) -> None:
    out = tmp_path / "OUT"
    write_dataset(out, refs, settings=small_settings, config="c")
    for shard in (out / "train").glob("*.tar"):
        data = bytearray(shard.read_bytes())
        data[5000] ^= 1
        shard.write_bytes(data)
    whole = content(out)
    with pytest.raises(DamagedClipError):
        write_dataset(out, [], settings=small_settings, config="c", stays=stays(refs[1:], (refs[0],)))
    assert {k: v for k, v in content(out).items() if not k.startswith(".")} == whole
    doubted = {f"train/train-{number:06d}.tar" for number in range(2)}
    assert standing(out, doubted, refs) == {ref.recording for ref in refs if ref.split == "validation"}


def test_rows_as_older_versions_kept_them_give_the_same_bytes(
    refs: list[SegmentRef], small_settings: Settings, tmp_path: Path
) -> None:
    """Segments in caches of before have JSON beside them."""
    write_dataset(tmp_path / "new", refs, settings=small_settings, config="c")
    for ref in refs[:3]:
        with pa.ipc.open_stream((ref.folder / "rows.arrow").read_bytes()) as stream:
            rows = list(table_rows(stream.read_all()))
        (ref.folder / "rows.json").write_text(to_json(rows))
        (ref.folder / "rows.arrow").unlink()
    write_dataset(tmp_path / "old", refs, settings=small_settings, config="c")
    assert content(tmp_path / "old") == content(tmp_path / "new")
    (refs[0].folder / "rows.json").write_text("[{}]")
    with pytest.raises(FormatError, match="rows of a segment lack"):
        write_dataset(tmp_path / "broken", refs, settings=small_settings, config="c")
    shutil.copyfile(refs[3].folder / "rows.arrow", refs[0].folder / "rows.arrow")
    with pytest.raises(DatasetError, match="not the one its rows describe"):
        write_dataset(tmp_path / "broken", refs, settings=small_settings, config="c")


def test_an_index_of_many_row_groups_is_the_one_written_at_once(
    refs: list[SegmentRef], small_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In groups of 3 rows, with clips that stand and clips that are new in the same group."""
    monkeypatch.setattr("corpus.shards.planning._GROUP_ROWS", 3)
    out, there = tmp_path / "OUT", [refs[0], refs[2]]
    write_dataset(out, there, settings=small_settings, config="c")
    more = [ref for ref in refs if ref not in there]
    write_dataset(out, more, settings=small_settings, config="c", stays=stays(there))
    write_dataset(tmp_path / "whole", refs, settings=small_settings, config="c")
    assert content(out) == content(tmp_path / "whole")
    at_once = io.BytesIO()
    pq.write_table(pq.read_table(out / "clips.parquet"), at_once, compression="zstd", row_group_size=3)
    assert (out / "clips.parquet").read_bytes() == at_once.getvalue()


def with_first(out: Path, name: str, value: object) -> None:
    """The dataset with another value in the first row of its index, for which its manifest vouches."""
    index = out / "clips.parquet"
    table = pq.read_table(index)
    place, field = table.schema.get_field_index(name), table.schema.field(name)
    values = [value, *table[name].to_pylist()[1:]]
    pq.write_table(table.set_column(place, field, pa.array(values, field.type)), index)
    manifest = from_json(Manifest, (out / "manifest.json").read_bytes())
    digest, size = sha256_file(index), index.stat().st_size
    files = [
        dataclasses.replace(one, sha256=digest, bytes=size) if one.path == index.name else one
        for one in manifest.files
    ]
    told = dataclasses.replace(manifest, files=tuple(files), segments="others")
    (out / "manifest.json").write_text(to_json(told))


@pytest.mark.parametrize(
    ("name", "value"),
    [("size", -1), ("size", 2**62), ("offset", -512), ("offset", 2**62), ("windows", -1)],
)
def test_an_index_that_tells_untruths_is_not_built_upon(
    refs: list[SegmentRef], small_settings: Settings, tmp_path: Path, name: str, value: object
) -> None:
    out = tmp_path / "OUT"
    write_dataset(out, refs, settings=small_settings, config="c")
    before = content(out)
    assert Old.read(out, set()) is not None
    with_first(out, name, value)
    assert Old.read(out, set()) is None
    write_dataset(out, refs, settings=small_settings, config="c")
    assert content(out) == before


def test_a_clip_without_all_its_members_is_one_clear_line(
    refs: list[SegmentRef], small_settings: Settings, tmp_path: Path
) -> None:
    out = tmp_path / "OUT"
    write_dataset(out, refs[:3], settings=small_settings, config="c")
    with_first(out, "member_offsets", [512])
    before = content(out)
    there = stays(refs[:3])
    with pytest.raises(FormatError, match=r"list 5 members for every clip; .*remove clips.parquet"):
        write_dataset(out, refs[3:], settings=small_settings, config="c", stays=there)
    assert not {name: data for name, data in before.items() if content(out)[name] != data}


def test_the_same_recording_twice_is_refused(
    refs: list[SegmentRef], small_settings: Settings, tmp_path: Path
) -> None:
    with pytest.raises(DatasetError, match="two clips have the key"):
        write_dataset(tmp_path / "OUT", [refs[0], *refs], settings=small_settings, config="c")


def test_a_segment_that_is_cut_off_is_refused(
    refs: list[SegmentRef], small_settings: Settings, tmp_path: Path
) -> None:
    file = refs[0].folder / "segment.tar"
    file.write_bytes(file.read_bytes()[:-512])
    with pytest.raises(DatasetError, match=r"segment\.tar"):
        write_dataset(tmp_path / "OUT", refs, settings=small_settings, config="c")
    assert not (tmp_path / "OUT" / "manifest.json").exists()


def test_a_segment_of_another_split_is_refused(
    refs: list[SegmentRef], small_settings: Settings, tmp_path: Path
) -> None:
    moved = dataclasses.replace(refs[0], split="test")
    with pytest.raises(DatasetError, match="not the one its rows describe"):
        write_dataset(tmp_path / "OUT", [moved], settings=small_settings, config="c")


def test_a_newer_dataset_is_not_overwritten(
    refs: list[SegmentRef], small_settings: Settings, tmp_path: Path
) -> None:
    out = tmp_path / "OUT"
    write_dataset(out, refs, settings=small_settings, config="c")
    text = (out / "manifest.json").read_text("utf-8")
    (out / "manifest.json").write_text(text.replace("corpus.manifest/1", "corpus.manifest/2"), "utf-8")
    with pytest.raises(NewerSchemaError):
        write_dataset(out, refs[:1], settings=small_settings, config="c")


def test_no_recordings_make_an_empty_dataset(small_settings: Settings, tmp_path: Path) -> None:
    manifest = write_dataset(tmp_path / "OUT", [], settings=small_settings, config="c")
    assert (manifest.clips, manifest.shards) == (0, ())
    assert verify_dataset(tmp_path / "OUT").ok


def test_what_the_disk_refuses_is_one_clear_line(
    refs: list[SegmentRef], small_settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "OUT").write_text("a file", "utf-8")
    with pytest.raises(StorageError, match="OUT"):
        write_dataset(tmp_path / "OUT", refs, settings=small_settings, config="c")
    with pytest.raises(StorageError, match="make room on the disk"), storage_errors(tmp_path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
