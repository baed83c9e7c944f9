"""Builds whose OUT is a URL: the bytes of a build into a folder, whatever fails or is killed on the way."""

from __future__ import annotations

import json
import random
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from corpus.pipeline import building, far_lease, far_publish
from corpus.pipeline.build import build_dataset
from corpus.pipeline.engine import Done, WorkerDied
from corpus.pipeline.far_build import build_at, work_folder
from corpus.pipeline.far_lease import LEASE, leased
from corpus.pipeline.far_shards import is_stand_in
from corpus.pipeline.progress import Quiet
from corpus.pipeline.request import Outcome, Request
from corpus.schemas import store as stores
from corpus.schemas.errors import CorpusError, DatasetError, FormatError, LockedError, StorageError
from corpus.schemas.settings import Settings
from corpus.schemas.store import UrlStore, store_at
from corpus.shards.far_index import far_manifest
from corpus.shards.read import open_clips
from corpus.shards.verify import verify_dataset

URL = "memory://bucket/set"


def in_process(function: Callable[[Any], Any], jobs: Sequence[Any], **_: Any) -> Iterator[Done[Any, Any]]:
    for job in jobs:
        yield Done(job, function(job))


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A store in memory, a work folder of the test's own, no waiting, and jobs in this process."""
    import fsspec

    monkeypatch.setenv("CORPUS_WORK_DIR", str(tmp_path / "work"))
    monkeypatch.setenv("CORPUS_READ_CACHE_BYTES", "0")
    monkeypatch.setattr(far_lease, "STALE_S", 0.1)
    monkeypatch.setattr(building, "run_jobs", in_process)
    monkeypatch.setattr(stores, "_PAUSES_S", (0.0, 0.0, 0.0, 0.0, 0.0))
    yield
    fsspec.filesystem("memory").store.clear()


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Name and bytes of everything put."""
    calls: list[tuple[str, int]] = []
    publish = UrlStore.publish

    def counted(self: UrlStore, local: Path, name: str, *, new: bool = False) -> bool:
        calls.append((name, local.stat().st_size))
        return publish(self, local, name, new=new)

    monkeypatch.setattr(UrlStore, "publish", counted)
    return calls


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    calls: list[str] = []
    fetch = UrlStore.fetch

    def counted(self: UrlStore, name: str, folder: Path) -> Path:
        calls.append(name)
        return fetch(self, name, folder)

    monkeypatch.setattr(UrlStore, "fetch", counted)
    return calls


@pytest.fixture
def request_of(no_models: Settings) -> Callable[..., Request]:
    def made(*inputs: Path, **options: Any) -> Request:
        return Request(inputs=tuple(map(str, inputs)), out=Path("unused"), settings=no_models, **options)

    return made


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    """A dozen short recordings of noise: a megabyte a shard holds a few of them."""
    import wave

    folder = tmp_path / "sounds"
    folder.mkdir()
    for number in range(12):
        draw = random.Random(number)
        with wave.open(str(folder / f"{number:02d}.wav"), "wb") as file:
            file.setparams((1, 2, 16000, 0, "NONE", ""))
            file.writeframes(draw.randbytes(16000 * 2 * 8))
    return folder


def download(url: str, folder: Path) -> Path:
    """What a reader would find at the URL, without state and lease."""
    shutil.rmtree(folder, ignore_errors=True)
    store = store_at(url)
    for one in store.list():
        if not one.name.startswith("."):
            store.fetch(one.name, folder)
    return folder


def shards_among(sent: list[tuple[str, int]]) -> list[str]:
    """Names under which shards of the dataset were put."""
    manifest, _ = far_manifest(store_at(URL))
    staged = {f".rewrite/{entry.sha256}" for entry in manifest.shards}
    return [name for name, _ in sent if name in staged]


def local(request: Request, out: Path) -> Outcome:
    return build_dataset(replace(request, out=out), Quiet())


Bytes = Callable[[Path], dict[str, str]]


def test_a_build_at_a_url_has_the_bytes_of_one_in_a_folder(
    talks: Path, request_of: Callable[..., Request], bytes_of: Bytes, tmp_path: Path
) -> None:
    request = request_of(talks)
    local(request, tmp_path / "OUT")
    outcome = build_at(URL, request, Quiet())
    assert outcome.exit_code == 0 and outcome.recordings == 4
    assert bytes_of(download(URL, tmp_path / "there")) == bytes_of(tmp_path / "OUT")
    assert not verify_dataset(URL, num_workers=1).problems
    assert len(open_clips(URL)) == outcome.clips
    names = [one.name for one in store_at(URL).list()]
    assert not [name for name in names if name.startswith(".rewrite/") or name == LEASE]


@pytest.mark.slow
def test_uploads_are_little_more_than_the_dataset(
    sounds: Path, request_of: Callable[..., Request], sent: list[tuple[str, int]]
) -> None:
    build_at(URL, request_of(sounds), Quiet())
    dataset = sum(one.bytes for one in store_at(URL).list() if not one.name.startswith("."))
    assert sum(size for _, size in sent) <= 1.2 * dataset
    sent.clear()
    assert build_at(URL, request_of(sounds), Quiet()).unchanged
    assert sum(size for _, size in sent) < 2000


@pytest.mark.slow
@pytest.mark.parametrize("other_machine", [False, True])
def test_one_recording_more_rewrites_only_the_shards_it_touches(
    sounds: Path,
    request_of: Callable[..., Request],
    bytes_of: Bytes,
    sent: list[tuple[str, int]],
    fetched: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    other_machine: bool,
) -> None:
    aside = sounds / "05.wav"
    aside.rename(tmp_path / "05.wav")
    first = build_at(URL, request_of(sounds), Quiet())
    assert first.shards >= 5
    (tmp_path / "05.wav").rename(aside)
    if other_machine:
        monkeypatch.setenv("CORPUS_WORK_DIR", str(tmp_path / "other"))
    assert all(map(is_stand_in, work_folder(URL).glob("*/*.tar")))
    sent.clear()
    fetched.clear()
    second = build_at(URL, request_of(sounds), Quiet())
    assert len([name for name in fetched if name.endswith(".tar")]) <= 2
    local(request_of(sounds), tmp_path / "OUT")
    assert bytes_of(download(URL, tmp_path / "there")) == bytes_of(tmp_path / "OUT")
    assert 1 <= len(shards_among(sent)) <= second.shards_written < second.shards
    assert not verify_dataset(URL, num_workers=1).problems
    assert build_at(URL, request_of(sounds), Quiet()).unchanged


class Killed(BaseException):
    """As if the driver had been killed: nothing catches it, nothing is cleaned up."""


@pytest.mark.slow
def test_a_driver_killed_at_any_call_leaves_what_the_same_command_finishes(
    talks: Path,
    request_of: Callable[..., Request],
    bytes_of: Bytes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The n-th call that changes the store is the last one, for every n; readers see the old or the new."""
    request = request_of(talks / "deep.flac", talks / "sound only.wav")
    local(request, tmp_path / "OUT")
    wanted = bytes_of(tmp_path / "OUT")
    calls = {"left": 0}

    def limited(name: str) -> None:
        original = getattr(UrlStore, name)

        def call(self: UrlStore, *arguments: Any, **options: Any) -> Any:
            calls["left"] -= 1
            if calls["left"] < 0:
                raise Killed
            return original(self, *arguments, **options)

        monkeypatch.setattr(UrlStore, name, call)

    for name in ("publish", "copy", "remove"):
        limited(name)
    for last in range(1, 200):
        calls["left"] = last
        try:
            build_at(URL, request, Quiet())
        except Killed:
            there = download(URL, tmp_path / "there")
            # A first build: no manifest until all of it stands there.
            assert not (there / "manifest.json").exists() or bytes_of(there) == wanted
            continue
        break
    else:
        raise AssertionError("it never ended")
    assert last > 10
    assert bytes_of(download(URL, tmp_path / "there")) == wanted
    assert not [one.name for one in store_at(URL).list() if one.name.startswith(".rewrite/")]


def test_what_was_sent_before_a_kill_is_not_sent_again(
    sounds: Path,
    request_of: Callable[..., Request],
    sent: list[tuple[str, int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def killed(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(far_publish, "_check_staged", killed)
        with pytest.raises(Killed):
            build_at(URL, request_of(sounds), Quiet())
    first = list(sent)
    sent.clear()
    assert build_at(URL, request_of(sounds), Quiet()).exit_code == 0
    assert shards_among(first) and not shards_among(sent)


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))])
def test_answers_that_fail_change_no_byte(
    talks: Path,
    request_of: Callable[..., Request],
    bytes_of: Bytes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    seed: int,
) -> None:
    """A fifth of all requests fails, half of these after they took effect."""
    from fsspec.implementations.memory import MemoryFileSystem

    draw = random.Random(seed)
    failed = []

    def unreliable(name: str) -> None:
        original = getattr(MemoryFileSystem, name)

        def call(self: Any, *arguments: Any, **options: Any) -> Any:
            drawn = draw.random()
            if drawn < 0.1:
                failed.append(name)
                raise OSError("503 Slow Down")
            answer = original(self, *arguments, **options)
            if drawn < 0.2:
                failed.append(name)
                raise TimeoutError("the answer was lost")
            return answer

        monkeypatch.setattr(MemoryFileSystem, name, call)

    for name in ("put_file", "cat_file", "get_file", "cp_file", "rm_file", "find"):
        unreliable(name)
    build_at(URL, request_of(talks), Quiet())
    monkeypatch.undo()
    assert len(failed) > 2
    local(request_of(talks), tmp_path / "OUT")
    assert bytes_of(download(URL, tmp_path / "there")) == bytes_of(tmp_path / "OUT")


def test_two_drivers_do_not_write_one_dataset(
    tmp_path: Path, talks: Path, request_of: Callable[..., Request]
) -> None:
    store = store_at(URL)
    said: list[str] = []
    with leased(store, said.append, lambda: None) as lease:
        far_lease.put(store, LEASE, store.open_range(LEASE))
        beats = threading.Timer(0.03, lease.beat)
        beats.start()
        with pytest.raises(LockedError, match="another build is writing this dataset"):
            build_at(URL, request_of(talks), Quiet())
        beats.join()
    assert not store.has(LEASE)


def test_a_still_lease_is_taken_over_and_its_holder_stopped(
    talks: Path, request_of: Callable[..., Request]
) -> None:
    store = store_at(URL)
    said: list[str] = []
    with leased(store, lambda line: None, lambda: None) as first:
        with leased(store, said.append, lambda: None) as second:
            second.check()
            with pytest.raises(LockedError, match="has taken this dataset over"):
                first.check()
        assert any("looking whether it is alive" in line for line in said)


def test_a_full_disk_does_not_end_the_heartbeat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, beats = store_at(URL), threading.Semaphore(0)

    def on_beat() -> None:
        beats.release()
        raise FormatError("status.json is damaged")

    monkeypatch.setattr(far_lease, "HEARTBEAT_S", 0.01)
    with leased(store, lambda line: None, on_beat):
        with monkeypatch.context() as patch:
            patch.setattr(tempfile, "tempdir", str(tmp_path / "full"))
            assert all(beats.acquire(timeout=10) for _ in range(3))
        seen = store.open_range(LEASE)
        assert all(beats.acquire(timeout=10) for _ in range(3))
        assert store.open_range(LEASE) != seen


def test_two_that_publish_at_once_do_not_mix(
    talks: Path,
    request_of: Callable[..., Request],
    bytes_of: Bytes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A driver that slept while another published: its commit has a number that is taken."""
    small = request_of(talks / "deep.flac")
    staged = far_publish._check_staged

    def meanwhile(store: Any, moves: Any) -> None:
        staged(store, moves)
        monkeypatch.setattr(far_publish, "_check_staged", staged)
        store.remove(LEASE)
        with monkeypatch.context() as patch:
            patch.setenv("CORPUS_WORK_DIR", str(tmp_path / "other"))
            build_at(URL, small, Quiet())

    monkeypatch.setattr(far_publish, "_check_staged", meanwhile)
    monkeypatch.setattr(far_lease.Lease, "check", lambda self: None)
    with pytest.raises(LockedError, match="published here in the meantime"):
        build_at(URL, request_of(talks), Quiet())
    local(small, tmp_path / "OUT")
    assert bytes_of(download(URL, tmp_path / "there")) == bytes_of(tmp_path / "OUT")


def test_a_store_without_conditional_put_is_refused(
    talks: Path, request_of: Callable[..., Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    publish = UrlStore.publish
    monkeypatch.setattr(UrlStore, "publish", lambda self, local, name, new=False: publish(self, local, name))
    with pytest.raises(StorageError, match="no conditional put; build into a folder"):
        build_at(URL, request_of(talks), Quiet())
    assert not store_at(URL).list()


def test_credentials_that_expire_are_said_and_the_same_command_continues(
    talks: Path,
    request_of: Callable[..., Request],
    bytes_of: Bytes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from fsspec.implementations.memory import MemoryFileSystem

    def expired(*_: object, **__: object) -> None:
        raise PermissionError("ExpiredToken: key hunter2 of https://u:hunter2@host/x?sig=hunter2")

    url = "memory://u:hunter2@bucket/set"
    monkeypatch.setattr(UrlStore, "url", url, raising=False)
    with monkeypatch.context() as patch:
        patch.setattr(far_publish, "publish_far", None)
        patch.setattr(MemoryFileSystem, "cp_file", expired)
        with pytest.raises(StorageError, match="renew them and run the same command again"):
            build_at(URL, request_of(talks), Quiet())
    build_at(URL, request_of(talks), Quiet())
    local(request_of(talks), tmp_path / "OUT")
    assert bytes_of(download(URL, tmp_path / "there")) == bytes_of(tmp_path / "OUT")


def test_credentials_enter_nothing_that_is_put(talks: Path, request_of: Callable[..., Request]) -> None:
    from fsspec.implementations.memory import MemoryFileSystem

    url = "memory://key:hunter2@bucket/set?token=hunter2"
    build_at(url, request_of(talks), Quiet())
    put = {name: file.getvalue() for name, file in MemoryFileSystem.store.items()}
    assert len(put) > 5
    assert not [name for name, content in put.items() if b"hunter2" in content]
    assert not [
        path for path in work_folder(url).rglob("*") if path.is_file() and b"hunter2" in path.read_bytes()
    ]


def test_a_dataset_that_vanished_is_made_again_from_the_cache(
    talks: Path, request_of: Callable[..., Request], bytes_of: Bytes, tmp_path: Path
) -> None:
    from fsspec.implementations.memory import MemoryFileSystem

    build_at(URL, request_of(talks), Quiet())
    before = bytes_of(download(URL, tmp_path / "before"))
    MemoryFileSystem.store.clear()
    assert build_at(URL, request_of(talks), Quiet()).exit_code == 0
    assert bytes_of(download(URL, tmp_path / "after")) == before


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["lost", "cut"])
def test_a_shard_that_is_not_whole_in_the_store_is_put_again(
    sounds: Path, request_of: Callable[..., Request], bytes_of: Bytes, tmp_path: Path, damage: str
) -> None:
    build_at(URL, request_of(sounds), Quiet())
    before = bytes_of(download(URL, tmp_path / "before"))
    store = store_at(URL)
    victim = next(one.name for one in store.list() if one.name.endswith(".tar"))
    store.remove(victim)
    if damage == "cut":
        far_lease.put(store, victim, b"x")
    assert build_at(URL, request_of(sounds), Quiet()).exit_code == 0
    assert bytes_of(download(URL, tmp_path / "after")) == before


@pytest.mark.slow
def test_other_bytes_of_the_same_size_are_found_when_they_are_needed(
    sounds: Path, request_of: Callable[..., Request], bytes_of: Bytes, tmp_path: Path
) -> None:
    aside = sounds / "05.wav"
    aside.rename(tmp_path / "05.wav")
    build_at(URL, request_of(sounds), Quiet())
    store = store_at(URL)
    for one in store.list():
        if one.name.endswith(".tar"):
            far_lease.put(store, one.name, bytes(one.bytes))
    (tmp_path / "05.wav").rename(aside)
    for _ in range(20):
        try:
            build_at(URL, request_of(sounds), Quiet())
            break
        except DatasetError as error:
            assert "run the same command again" in str(error)
    assert any(problem.code for problem in verify_dataset(URL, num_workers=1).problems)


def test_odd_names_are_keys_too(talks: Path, request_of: Callable[..., Request], tmp_path: Path) -> None:
    url = "memory://bucket/a b/ünï+%2F&y'[*]"
    assert build_at(url, request_of(talks / "deep.flac"), Quiet()).exit_code == 0
    assert build_at(url, request_of(talks / "deep.flac"), Quiet()).unchanged
    assert len(open_clips(url)) > 0


def test_a_newer_dataset_is_refused_before_any_work(talks: Path, request_of: Callable[..., Request]) -> None:
    store = store_at(URL)
    far_lease.put(store, "manifest.json", json.dumps({"schema": "corpus.manifest/99"}).encode())
    with pytest.raises(CorpusError, match="newer"):
        build_at(URL, request_of(talks), Quiet())
    assert store.open_range("manifest.json") == b'{"schema": "corpus.manifest/99"}'


def test_a_file_url_is_the_folder(talks: Path, request_of: Callable[..., Request], tmp_path: Path) -> None:
    build_at(f"file://{tmp_path}/OUT", request_of(talks / "deep.flac"), Quiet())
    assert len(open_clips(tmp_path / "OUT")) > 0


def test_what_a_killed_build_gave_up_stays_if_another_machine_has_built_it(
    talks: Path,
    request_of: Callable[..., Request],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    request = request_of(talks / "deep.flac", talks / "sound only.wav")

    def dying(function: Callable[[Any], Any], jobs: Sequence[Any], **_: Any) -> Iterator[Done[Any, Any]]:
        for job in jobs:
            died = job.identity.item.uri == "deep.flac"
            yield Done(job, WorkerDied() if died else function(job))

    def killed(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:  # here memory runs out, and then the build is killed
        patch.setattr(building, "run_jobs", dying)
        patch.setattr(building.Building, "_write", killed)
        with pytest.raises(Killed):
            build_at(URL, request, Quiet())
    with monkeypatch.context() as patch:
        patch.setenv("CORPUS_WORK_DIR", str(tmp_path / "other"))
        assert build_at(URL, request, Quiet()).recordings == 2
    again = build_at(URL, request, Quiet())
    assert (again.exit_code, again.recordings) == (0, 2)
