"""A store does the same in a folder as behind a URL; what it cannot do is an error that says so."""

from __future__ import annotations

import pickle
import secrets
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFile, MemoryFileSystem

from corpus.schemas import store as stores
from corpus.schemas.errors import MissingDependencyError, StorageError
from corpus.schemas.store import FolderStore, Store, UrlStore, store_at

ODD = "a b/ünï #1?x=%2F&y'[*].tar"
"""Characters that a path, a URL or a glob would each take for something of its own."""


@pytest.fixture(params=["folder", "url"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "folder":
        return store_at(tmp_path / "stored")
    return store_at(f"memory://{secrets.token_hex(8)}/stored")


@pytest.fixture
def local(tmp_path: Path) -> Path:
    path = tmp_path / "local"
    path.write_bytes(bytes(range(256)))
    return path


@pytest.mark.parametrize("name", ["plain.tar", "train/train-000000.tar", ODD])
def test_what_is_published_comes_back(store: Store, local: Path, tmp_path: Path, name: str) -> None:
    assert not store.has(name)
    assert store.publish(local, name)
    assert store.has(name)
    assert store.open_range(name) == bytes(range(256))
    assert store.open_range(name, 10, 20) == bytes(range(10, 20))
    assert store.open_range(name, 250) == bytes(range(250, 256))
    assert store.open_range(name, 0, 1) == b"\0"
    assert store.fetch(name, tmp_path / "fetched").read_bytes() == bytes(range(256))
    assert [(one.name, one.bytes) for one in store.list()] == [(name, 256)]
    store.remove(name)
    store.remove(name)
    assert not store.has(name) and store.list() == []


def test_only_the_first_of_two_makes_what_is_new(store: Store, local: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(b"other")
    assert store.publish(local, "lease", new=True)
    assert not store.publish(other, "lease", new=True)
    assert store.open_range("lease") == bytes(range(256))
    assert store.publish(other, "lease")
    assert store.open_range("lease") == b"other"
    assert [one.name for one in store.list()] == ["lease"]


def test_a_mark_changes_with_the_content(store: Store, local: Path) -> None:
    store.publish(local, "x")
    before = store.list()[0]
    assert before == store.list()[0]
    local.write_bytes(b"new")
    store.publish(local, "x")
    assert store.list()[0] != before


def test_a_missing_file_is_missing(store: Store, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        store.open_range("nothing")
    with pytest.raises(FileNotFoundError):
        store.fetch("nothing", tmp_path)
    assert store.list("nothing") == []
    assert not list(tmp_path.rglob("nothing*"))


def test_only_what_lies_below_is_listed(store: Store, local: Path) -> None:
    for name in ("a/1", "a/b/2", "ab/3"):
        store.publish(local, name)
    assert [one.name for one in store.list("a")] == ["a/1", "a/b/2"]


def test_only_files_are_listed() -> None:
    """Not what a console leaves where somebody has made a folder, nor a key with an empty part."""
    root = f"memory://{secrets.token_hex(8)}/stored"
    files, path = fsspec.url_to_fs(root)
    for name in ("/", "/train/", "//manifest.json", "/train/a.tar"):
        files.store[path + name] = MemoryFile(files, path + name, b"")
    assert [one.name for one in store_at(root).list()] == ["/manifest.json", "train/a.tar"]


def test_it_travels_to_other_processes(store: Store, local: Path) -> None:
    store.publish(local, "x")
    assert pickle.loads(pickle.dumps(store)).open_range("x", 3, 5) == b"\3\4"


def test_a_file_url_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a b").mkdir()
    found = store_at(f"file://{tmp_path}/a%20b")
    assert isinstance(found, FolderStore) and found.root == tmp_path / "a b"
    found = store_at(f"file://localhost{tmp_path}/a%20b")
    assert isinstance(found, FolderStore) and found.root == tmp_path / "a b"


class _Failing(MemoryFileSystem):
    """Fails a set number of times, then behaves like memory."""

    protocol = "failing"
    cachable = False
    failures: list[Exception] = []  # noqa: RUF012 - shared with the tests on purpose

    def cat_file(self, path: str, start: Any = None, end: Any = None, **options: Any) -> Any:
        if _Failing.failures:
            raise _Failing.failures.pop()
        content = super().cat_file(path, **options)
        return content[start:end]


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch, local: Path) -> UrlStore:
    monkeypatch.setattr(stores, "_PAUSES_S", (0.0, 0.0, 0.0))
    monkeypatch.setattr(_Failing, "failures", [])
    monkeypatch.setattr(_Failing, "store", {})
    monkeypatch.setattr(_Failing, "pseudo_dirs", [""])
    fsspec.register_implementation("failing", _Failing, clobber=True)
    made = UrlStore("failing://key:secret@bucket/data?signature=abc")
    files: Any = _Failing()
    files.put_file(str(local), "/key:secret@bucket/data?signature=abc/x")
    monkeypatch.setattr(made, "_files", (files, "/key:secret@bucket/data?signature=abc"))
    return made


def test_a_store_that_stumbles_is_asked_again(failing: UrlStore) -> None:
    _Failing.failures[:] = [OSError("slow down")] * 3
    assert failing.open_range("x", 1, 3) == b"\1\2"


def test_a_store_that_stays_away_is_an_error_without_credentials(failing: UrlStore) -> None:
    _Failing.failures[:] = [OSError("no answer from failing://key:secret@bucket/data?signature=abc")] * 4
    with pytest.raises(StorageError) as caught:
        failing.open_range("x")
    text = str(caught.value)
    assert "no answer" in text and "run the same command again" in text
    assert "secret" not in text and "abc" not in text and "failing://bucket/data/x" in text


def test_refused_credentials_are_not_tried_again(failing: UrlStore) -> None:
    _Failing.failures[:] = [PermissionError("ExpiredToken")] * 2
    with pytest.raises(StorageError, match=r"ExpiredToken.*renew them and run the same command again"):
        failing.open_range("x")
    assert len(_Failing.failures) == 1


def test_a_clock_that_is_wrong_and_missing_credentials_say_what_to_do(failing: UrlStore) -> None:
    said = "The difference between the request time and the current time is too large."
    _Failing.failures[:] = [PermissionError(said)]
    with pytest.raises(StorageError, match="set this machine's clock, then run"):
        failing.open_range("x")
    missing = type("NoCredentialsError", (Exception,), {})
    _Failing.failures[:] = [missing("Unable to locate credentials") for _ in range(4)]
    with pytest.raises(StorageError, match=r"Unable to locate credentials; credentials are missing"):
        failing.open_range("x")


def test_an_address_that_answers_nothing_is_not_waited_for_again(
    failing: UrlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else its library's 25 tries of a quarter of a minute each would be a hundred."""
    _Failing.failures[:] = [TimeoutError(), TimeoutError()]
    assert failing.open_range("x", 1, 3) == b"\1\2"
    monkeypatch.setattr(stores, "_PATIENCE_S", -1.0)
    _Failing.failures[:] = [OSError("reset"), TimeoutError(), OSError("reset")]
    with pytest.raises(StorageError, match="TimeoutError"):
        failing.open_range("x")
    assert len(_Failing.failures) == 1


def test_a_transfer_cut_short_is_asked_again(failing: UrlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    given = [b"\1", b"\1\2"]
    monkeypatch.setattr(_Failing, "cat_file", lambda *_, **__: given.pop(0))
    assert failing.open_range("x", 1, 3) == b"\1\2"


def test_an_unknown_scheme_and_a_missing_package_say_what_to_do() -> None:
    with pytest.raises(StorageError, match="nosuch"):
        store_at("nosuch://bucket/x").has("y")
    with pytest.raises(MissingDependencyError, match="install"):
        store_at("gs://bucket/x").has("y")
