"""Paths that a stranger's dataset names stay in it, and links out of it are followed by nobody."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import ModuleType

import av
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from corpus.pipeline.state import State
from corpus.report.catalog import open_catalog
from corpus.schemas.errors import CorpusError, DatasetError
from corpus.schemas.files import inside, is_inside_name
from corpus.shards.read import open_clips
from corpus.shards.stream import stream_clips
from corpus.shards.swap import finish_swap
from corpus.shards.verify import verify_dataset
from corpus.shards.write import SegmentRef, read_manifest, write_dataset

Make = Callable[..., tuple[SegmentRef, list[object]]]
SHARD = "train/train-000000.tar"


@pytest.fixture
def dataset(tmp_path: Path, make_segment: Make) -> Path:
    """One recording, in a folder deep enough to climb out of."""
    from corpus.schemas.settings import Settings

    out = tmp_path / "a" / "b" / "OUT"
    out.mkdir(parents=True)
    write_dataset(out, [make_segment(tmp_path / "made")[0]], settings=Settings(), config="c" * 64)
    return out


@pytest.mark.parametrize(
    ("name", "good"),
    [
        ("train/train-000000.tar", True),
        ("README.md", True),
        ("träin/x.tar", True),
        ("../x", False),
        ("train/../../x", False),
        ("/etc/passwd", False),
        ("", False),
        (".", False),
        ("train//x", False),
        ("train/", False),
        ("..\\x", False),
        ("C:\\x", False),
        ("a\0b", False),
        ("a\nb", False),
        ("\u202etar", False),
        ("\udcff", False),
        ("x" * 300, False),
    ],
)
def test_names_inside(name: str, good: bool) -> None:
    assert is_inside_name(name) == good


def _rename_shard(out: Path, name: str, *, manifest: bool, index: bool) -> None:
    """The dataset says of its shard that it lies elsewhere, and its sums agree."""
    plain = json.loads((out / "manifest.json").read_text())
    if index:
        table = pq.read_table(out / "clips.parquet")
        place = table.schema.get_field_index("shard")
        table = table.set_column(place, table.schema.field(place), pa.array([name] * len(table)))
        pq.write_table(table, out / "clips.parquet")
        data = (out / "clips.parquet").read_bytes()
        for entry in plain["files"]:
            if entry["path"] == "clips.parquet":
                entry |= {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    if manifest:
        plain["shards"][0]["path"] = name
    (out / "manifest.json").write_text(json.dumps(plain))


@pytest.mark.parametrize("how", ["up", "absolute", "index alone"])
def test_a_shard_elsewhere_is_not_read(dataset: Path, tmp_path: Path, how: str) -> None:
    elsewhere = tmp_path / "a" / "secret.tar"
    shutil.copy(dataset / SHARD, elsewhere)
    name = str(elsewhere) if how == "absolute" else "../../secret.tar"
    _rename_shard(dataset, name, manifest=how != "index alone", index=True)
    with pytest.raises(CorpusError, match=r"inside|not list"):
        _ = open_clips(dataset)[0].json
    if how != "index alone":
        with pytest.raises(CorpusError, match="inside"):
            list(stream_clips(dataset))
        assert read_manifest(dataset) is None
    assert not verify_dataset(dataset).ok


@pytest.mark.parametrize("name", ["manifest.json", "clips.parquet", SHARD])
@pytest.mark.parametrize("what", ["file outside", "folder outside", "fifo", "device"])
def test_links_out_of_a_dataset_and_pipes_are_refused(
    dataset: Path, tmp_path: Path, name: str, what: str
) -> None:
    path = dataset / name
    if what == "file outside":
        shutil.copy(path, tmp_path / "secret")
        path.unlink()
        path.symlink_to(tmp_path / "secret")
    elif what == "folder outside":
        if name != SHARD:
            pytest.skip("only shards lie in a folder")
        shutil.move(dataset / "train", tmp_path / "train")
        (dataset / "train").symlink_to(tmp_path / "train")
    elif what == "fifo":
        path.unlink()
        os.mkfifo(path)
    else:
        path.unlink()
        path.symlink_to("/dev/zero")
    with pytest.raises(CorpusError, match=r"leads out|pipe|holds 0 bytes"):
        _ = open_clips(dataset)[0].json
    try:
        assert not verify_dataset(dataset).ok
    except DatasetError as error:
        assert name == "manifest.json", error
    if name != "clips.parquet":
        with pytest.raises(CorpusError):
            list(stream_clips(dataset))


def test_a_link_within_the_dataset_and_the_hub_cache_are_followed(dataset: Path, tmp_path: Path) -> None:
    """The Hugging Face cache keeps a dataset's files as links from snapshots/REVISION to blobs."""
    hub = tmp_path / "hub" / "datasets--me--talks"
    (hub / "blobs").mkdir(parents=True)
    snapshot = Path(shutil.copytree(dataset, hub / "snapshots" / "0123"))
    for number, path in enumerate(sorted(p for p in snapshot.rglob("*") if p.is_file())):
        blob = hub / "blobs" / f"{number:040x}"
        path.rename(blob)
        path.symlink_to(os.path.relpath(blob, path.parent))
    assert verify_dataset(snapshot).ok
    assert len(open_clips(snapshot)[0].json.speakers) == 2
    (dataset / "train" / "other.tar").symlink_to("train-000000.tar")
    assert inside(dataset, "train/other.tar").read_bytes() == (dataset / SHARD).read_bytes()


@pytest.mark.parametrize("name", ["../../escaped", "/tmp/escaped", "train/../../../escaped", "a\\..\\b"])
def test_a_record_of_an_interrupted_build_moves_nothing_out(dataset: Path, name: str) -> None:
    folder = dataset / ".rewrite"
    folder.mkdir()
    (dataset / "escaped").write_text("x")
    (folder / "swap.json").write_text(json.dumps({"moves": [name], "shards": []}))
    with pytest.raises(DatasetError, match=r"inside.*remove"):
        finish_swap(dataset)
    assert (dataset / "escaped").read_text() == "x"


@pytest.mark.parametrize("name", ["train", ".rewrite", ".cache"])
def test_a_build_writes_through_no_link(dataset: Path, tmp_path: Path, name: str) -> None:
    target = tmp_path / "mine"
    target.mkdir()
    (target / "train-000099.tar").write_text("precious")
    shutil.rmtree(dataset / name, ignore_errors=True)
    (dataset / name).symlink_to(target)
    with pytest.raises(DatasetError, match="is a link"):
        if name == ".cache":
            State(dataset).create()
        else:
            finish_swap(dataset)
    assert [path.name for path in target.iterdir()] == ["train-000099.tar"]


def test_a_catalog_elsewhere_is_not_opened(dataset: Path, tmp_path: Path) -> None:
    import duckdb

    with duckdb.connect(str(tmp_path / "mine.duckdb")) as mine:
        mine.execute("CREATE TABLE schema_version AS SELECT 'corpus.catalog' AS name, 1 AS version")
    (dataset / "catalog.duckdb").symlink_to(tmp_path / "mine.duckdb")
    with pytest.raises(DatasetError, match="leads out"), open_catalog(dataset):
        pass


def test_a_builds_records_lead_a_reviewer_to_no_playlist(tmp_path: Path, media: ModuleType) -> None:
    """`.cache/marks.json` says where the original film lies; a stranger may have written it."""
    from corpus.review.original import Film, _decoded

    film = Film(stream=0, offset_us=0)
    video = media.Video("mpeg2video", rate=Fraction(25))
    for name in ("part.ts", "film.mkv"):
        media.write_media(tmp_path / name, duration_s=1, audio=[media.Audio("mp2", chunk=1152)], video=video)
    assert _decoded(tmp_path / "film.mkv", film, 0, 400_000)
    (tmp_path / "list.m3u8").write_text("#EXTM3U\n#EXTINF:1,\npart.ts\n#EXT-X-ENDLIST\n")
    with pytest.raises((av.FFmpegError, OSError, ValueError)):
        _decoded(tmp_path / "list.m3u8", film, 0, 400_000)
