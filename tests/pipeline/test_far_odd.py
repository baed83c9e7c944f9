"""Builds at a URL where the store, or what somebody has put there, is not as it should be."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from corpus.pipeline import building, far_lease
from corpus.pipeline.engine import Done
from corpus.pipeline.far_build import build_at, far_status, work_folder
from corpus.pipeline.far_lease import LEASE, leased
from corpus.pipeline.progress import Quiet
from corpus.pipeline.request import Request
from corpus.schemas import store as stores
from corpus.schemas.errors import FormatError, StorageError
from corpus.schemas.settings import Settings
from corpus.schemas.store import UrlStore, store_at

URL = "memory://odd/set"


def _in_process(function: Callable[[Any], Any], jobs: Any, **_: Any) -> Iterator[Done[Any, Any]]:
    return (Done(job, function(job)) for job in jobs)


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A store in memory, a work folder of the test's own, no waiting, and jobs in this process."""
    import fsspec

    monkeypatch.setenv("CORPUS_WORK_DIR", str(tmp_path / "work"))
    monkeypatch.setattr(far_lease, "STALE_S", 0.1)
    monkeypatch.setattr(building, "run_jobs", _in_process)
    monkeypatch.setattr(stores, "_PAUSES_S", (0.0,))
    yield
    fsspec.filesystem("memory").store.clear()


@pytest.fixture
def request_of(no_models: Settings) -> Callable[..., Request]:
    return lambda *inputs: Request(inputs=tuple(map(str, inputs)), out=Path("unused"), settings=no_models)


def test_an_empty_lease_is_watched_as_any_other(talks: Path, request_of: Callable[..., Request]) -> None:
    """As somebody's copy of a bucket without its bytes leaves it: no build could ever begin."""
    far_lease.put(store_at(URL), LEASE, b"")
    assert build_at(URL, request_of(talks), Quiet()).exit_code == 0


def test_a_lease_that_can_be_neither_seen_nor_put_ends_in_an_error(
    talks: Path, request_of: Callable[..., Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(far_lease, "put_new", lambda store, name, content: False)
    with pytest.raises(StorageError, match="has no lease and takes none"):
        build_at(URL, request_of(talks), Quiet())


def test_a_store_that_does_not_list_what_is_put_is_refused(
    talks: Path, request_of: Callable[..., Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a stale cache before it, or s3fs where a key begins with a slash."""
    monkeypatch.setattr(UrlStore, "list", lambda self, below="": [])
    with pytest.raises(StorageError, match="does not list a file just put"):
        build_at(URL, request_of(talks), Quiet())
    assert not store_at(URL).has(LEASE)


def test_the_state_in_which_a_build_ended_is_told(
    talks: Path, request_of: Callable[..., Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though no heartbeat comes before it; one that was taken over tells nothing any more."""

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(building.Building, "_record", interrupted)
        with pytest.raises(KeyboardInterrupt):
            build_at(URL, request_of(talks), Quiet())
    status, holds = far_status(store_at(URL))
    assert status is not None and status.phase == "interrupted" and not holds
    told: list[int] = []
    first_of_two = leased(store_at(URL), lambda line: None, lambda: told.append(1))
    with first_of_two as first, leased(store_at(URL), lambda line: None, lambda: None):
        first.beat()
    assert not told


@pytest.mark.parametrize("name", ["catalog.duckdb", "report.html", "README.md", ".cache/quarantine.json"])
def test_what_is_damaged_or_gone_beside_the_manifest_is_put_again(
    talks: Path, request_of: Callable[..., Request], name: str
) -> None:
    store = store_at(URL)
    build_at(URL, request_of(talks), Quiet())
    whole = store.open_range(name)
    far_lease.put(store, name, b"<html>")
    build_at(URL, request_of(talks), Quiet())
    assert store.open_range(name) == whole
    store.remove(name)
    build_at(URL, request_of(talks), Quiet())
    assert store.open_range(name) == whole


def test_an_upload_cut_short_by_an_odd_store_is_not_taken_for_whole(
    talks: Path, request_of: Callable[..., Request]
) -> None:
    store = store_at(URL)
    build_at(URL, request_of(talks), Quiet())
    whole = {name: store.open_range(name) for name in ("manifest.json", "clips.parquet")}
    for name, content in whole.items():
        store.remove(name)
        far_lease.put(store, f".rewrite/{hashlib.sha256(content).hexdigest()}", content[:100])
    build_at(URL, request_of(talks), Quiet())
    assert {name: store.open_range(name) for name in whole} == whole


def test_a_damaged_manifest_says_what_to_do(talks: Path, request_of: Callable[..., Request]) -> None:
    """It is not made again unasked: nobody could tell which recordings the inputs must not remove."""
    build_at(URL, request_of(talks), Quiet())
    store = store_at(URL)
    whole = store.open_range("manifest.json")
    far_lease.put(store, "manifest.json", b"<html>")
    for _ in range(2):
        with pytest.raises(FormatError, match=r"not JSON.*; put a good copy in its place, or remove it"):
            build_at(URL, request_of(talks), Quiet())
    store.remove("manifest.json")
    build_at(URL, request_of(talks), Quiet())
    assert store.open_range("manifest.json") == whole


def test_what_a_build_did_not_make_stays(talks: Path, request_of: Callable[..., Request]) -> None:
    """A build into a place that holds tars of somebody else."""
    store = store_at(URL)
    foreign = ["train/precious.tar", "train/train-old.tar", "train/deep/train-000000.tar", "//manifest.json"]
    for name in (*foreign, "train/train-000099.tar"):
        far_lease.put(store, name, b"precious")
    assert build_at(URL, request_of(talks), Quiet()).exit_code == 0
    left = {one.name for one in store.list()}
    assert left.issuperset(foreign) and "train/train-000099.tar" not in left


def test_urls_that_differ_at_all_have_folders_of_their_own(tmp_path: Path) -> None:
    places = ["s3://a/b", "s3://a/b#1", "s3://a/b#2", "s3://a/b?1", "abfs://one@a/b", "abfs://two@a/b"]
    assert len({work_folder(place) for place in places}) == len(places)
    assert work_folder("s3://a/b/") == work_folder("s3://a/b")
    assert work_folder("ftp://me:old@a/b") == work_folder("ftp://me:new@a/b")
