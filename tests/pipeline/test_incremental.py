"""A dataset that grows or changes a little is written a little, and is what a build of all would make."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

from corpus.pipeline import views
from corpus.schemas.errors import DatasetError
from corpus.schemas.files import sha256_file
from corpus.shards.verify import verify_dataset

Run = Callable[..., Any]
BytesOf = Callable[[Path], dict[str, str]]


def rows_of(out: Path) -> dict[str, list[str]]:
    """Every row of every table of the catalog, in no order."""
    with duckdb.connect(str(out / "catalog.duckdb"), read_only=True) as db:
        names = [name for (name,) in db.execute("SELECT table_name FROM duckdb_tables()").fetchall()]
        return {name: sorted(map(repr, db.execute(f"FROM {name}").fetchall())) for name in names}


@pytest.fixture
def grown(talks: Path, tmp_path: Path, run_build: Run) -> tuple[Path, Path]:
    """A folder of all recordings, and a dataset that was built when one was not there yet."""
    folder, out = tmp_path / "in", tmp_path / "out"
    shutil.copytree(talks, folder)
    late = folder / "walk.mkv"
    late.rename(tmp_path / "walk.mkv")
    run_build(folder, out=out)
    (tmp_path / "walk.mkv").rename(late)
    return folder, out


def assert_as_built_anew(out: Path, folder: Path, fresh: Path, run_build: Run, bytes_of: BytesOf) -> None:
    run_build(folder, out=fresh)
    assert bytes_of(out) == bytes_of(fresh)
    assert rows_of(out) == rows_of(fresh)
    assert (out / "report.html").read_bytes() == (fresh / "report.html").read_bytes()
    assert verify_dataset(out).problems == ()


def test_one_recording_more_and_one_sidecar_changed(
    grown: tuple[Path, Path], tmp_path: Path, run_build: Run, bytes_of: BytesOf
) -> None:
    """What has not changed is not asked of the cache: it may be gone."""
    folder, out = grown
    for stage in ("decode", "voices", "label", "cut", "record"):
        shutil.rmtree(out / ".cache" / stage)
    run_build(folder, out=out)
    made = {path.name for path in (out / ".cache" / "decode").glob("*/*")}
    assert len(made) == 1
    assert_as_built_anew(out, folder, tmp_path / "fresh", run_build, bytes_of)
    turns = folder / "meeting.rttm"
    turns.write_text(turns.read_text().replace(" Ann ", " Anna "))
    run_build(folder, out=out)
    assert_as_built_anew(out, folder, tmp_path / "fresher", run_build, bytes_of)


def test_catalog_and_report_are_the_same_if_their_job_is_repeated(
    grown: tuple[Path, Path],
    tmp_path: Path,
    run_build: Run,
    bytes_of: BytesOf,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its process may die after the catalog is whole; the job then runs again in the same folder."""
    once = views.make_views

    def twice(job: views.ViewsJob) -> views.Views:
        once(job)
        return once(job)

    folder, out = grown
    with monkeypatch.context() as patch:
        patch.setattr(views, "make_views", twice)
        run_build(folder, out=out)
    assert_as_built_anew(out, folder, tmp_path / "fresh", run_build, bytes_of)


def test_a_recording_fewer_and_another_name(
    grown: tuple[Path, Path], tmp_path: Path, run_build: Run, bytes_of: BytesOf
) -> None:
    folder, out = grown
    (folder / "deep.flac").unlink()
    (folder / "sound only.wav").rename(folder / "renamed.wav")
    run_build(folder, out=out, allow_removals=True)
    assert_as_built_anew(out, folder, tmp_path / "fresh", run_build, bytes_of)


def test_a_damaged_shard_is_not_copied_into_another(
    grown: tuple[Path, Path], tmp_path: Path, run_build: Run, bytes_of: BytesOf
) -> None:
    """Its clips come from the cache, or are made again: size and time are as they were."""
    import os

    folder, out = grown
    for shard in out.glob("*/*.tar"):
        before = shard.stat()
        data = bytearray(shard.read_bytes())
        data[700] ^= 1
        shard.write_bytes(data)
        os.utime(shard, ns=(before.st_atime_ns, before.st_mtime_ns))
    run_build(folder, out=out)
    damaged = {p.where.partition(": ")[0] for p in verify_dataset(out).problems}
    whole = bytes_of(out)
    run_build(folder, out=tmp_path / "fresh")
    expected = bytes_of(tmp_path / "fresh")
    assert {path for path in whole if whole[path] != expected[path]} <= damaged


def test_an_edited_catalog_is_refused_and_a_broken_one_made_anew(
    grown: tuple[Path, Path], run_build: Run
) -> None:
    folder, out = grown
    catalog = out / "catalog.duckdb"
    whole = catalog.read_bytes()
    with duckdb.connect(str(catalog)) as db:
        db.execute("CREATE TABLE mine AS SELECT 1 AS one")
    edited = catalog.read_bytes()
    with pytest.raises(DatasetError, match="was changed since it was built"):
        run_build(folder, out=out)
    assert catalog.read_bytes() == edited
    catalog.write_bytes(whole[:5000])
    run_build(folder, out=out)
    assert "mine" not in rows_of(out)
    assert len(rows_of(out)["recordings"]) == 4


def test_a_catalog_that_looks_as_it_was_built_is_not_read_to_be_known(
    grown: tuple[Path, Path], run_build: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from corpus.pipeline import published

    folder, out = grown
    read: list[str] = []

    def noted(path: Path) -> str:
        read.append(path.name)
        return sha256_file(path)

    monkeypatch.setattr(published, "sha256_file", noted)
    run_build(folder, out=out)
    assert "manifest.json" in read and "catalog.duckdb" not in read
    (out / "catalog.duckdb").touch()  # another time, the same bytes: it is read, and known
    (folder / "deep.flac").rename(folder / "deeper.flac")
    run_build(folder, out=out)
    assert "catalog.duckdb" in read
    assert len(rows_of(out)["recordings"]) == 4
