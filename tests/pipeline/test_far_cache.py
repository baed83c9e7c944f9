"""Artifacts at a URL: what one machine has made another fetches, whole and checked, or makes itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from corpus.pipeline.cache import Cache
from corpus.schemas import store as stores
from corpus.schemas.drops import Drop
from corpus.schemas.errors import StorageError
from corpus.schemas.store import UrlStore, store_at

URL = "memory://bucket/cache"
DIGEST = "ab" * 32
DROP = Drop(item="x", stage="diarize", kind="trim", code="short", reason="too short")


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    import fsspec

    monkeypatch.setattr(stores, "_PAUSES_S", ())
    yield
    fsspec.filesystem("memory").store.clear()


@pytest.fixture
def machine(tmp_path: Path) -> Callable[[str], Cache]:
    def made(name: str) -> Cache:
        cache = Cache(tmp_path / name, "scratch", URL)
        cache.create()
        return cache

    return made


def fill(folder: Path) -> list[Drop]:
    (folder / "below").mkdir()
    (folder / "below" / "turns.json").write_text("turns")
    (folder / "empty").write_bytes(b"")
    return [DROP]


def fail(folder: Path) -> list[Drop]:
    raise AssertionError("it was to be fetched")


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def test_what_one_machine_made_another_fetches(machine: Callable[[str], Cache]) -> None:
    first = machine("one").make("diarize", DIGEST, fill)
    second = machine("two").make("diarize", DIGEST, fail)
    assert files(second.folder) == files(first.folder) and second.folder != first.folder
    assert second.drops == (DROP,)
    assert machine("two").make("diarize", DIGEST, fail).drops == (DROP,)  # from its own folder now
    assert not list((machine("three").scratch).iterdir())


def test_sound_is_not_sent(machine: Callable[[str], Cache]) -> None:
    for stage in ("decode", "voices", "cut", "record", "label"):
        machine("one").make(stage, DIGEST, fill)
    assert store_at(URL).list() == []


@pytest.mark.parametrize("victim", ["artifact.json", "below/turns.json"])
@pytest.mark.parametrize("damage", [b"", b"other", None])
def test_what_is_damaged_there_is_made_and_put_again(
    machine: Callable[[str], Cache], tmp_path: Path, victim: str, damage: bytes | None
) -> None:
    machine("one").make("diarize", DIGEST, fill)
    store, name = store_at(URL), f"diarize/ab/{DIGEST}/{victim}"
    store.remove(name)
    if damage is not None:
        (tmp_path / "damage").write_bytes(damage)
        store.publish(tmp_path / "damage", name)
    assert machine("two").make("diarize", DIGEST, fill).drops == (DROP,)
    assert machine("three").make("diarize", DIGEST, fail).drops == (DROP,)


def test_one_that_names_files_outside_is_not_followed(
    machine: Callable[[str], Cache], tmp_path: Path
) -> None:
    import hashlib

    text = '{"files":[{"path":"../../mine","sha256":"' + "0" * 64 + '"}],"drops":[]}'
    head = f"{text}\n{hashlib.sha256(text.encode()).hexdigest()}\n"
    (tmp_path / "head").write_text(head)
    store_at(URL).publish(tmp_path / "head", f"diarize/ab/{DIGEST}/artifact.json")
    assert machine("one").make("diarize", DIGEST, fill).drops == (DROP,)
    assert not (tmp_path / "mine").exists()


def test_a_machine_killed_before_the_head_leaves_nothing_that_counts(
    machine: Callable[[str], Cache], monkeypatch: pytest.MonkeyPatch
) -> None:
    publish = UrlStore.publish

    def killed(self: UrlStore, local: Path, name: str, **options: Any) -> bool:
        if name.endswith("artifact.json"):
            raise KeyboardInterrupt
        return publish(self, local, name, **options)

    with monkeypatch.context() as patch:
        patch.setattr(UrlStore, "publish", killed)
        with pytest.raises(KeyboardInterrupt):
            machine("one").make("diarize", DIGEST, fill)
    made: list[Path] = []

    def fill_and_note(folder: Path) -> list[Drop]:
        made.append(folder)
        return fill(folder)

    machine("two").make("diarize", DIGEST, fill_and_note)
    assert made
    machine("three").make("diarize", DIGEST, fail)


def test_a_store_that_fails_stops_the_build_with_its_reason(
    machine: Callable[[str], Cache], monkeypatch: pytest.MonkeyPatch
) -> None:
    from fsspec.implementations.memory import MemoryFileSystem

    def expired(*_: object, **__: object) -> None:
        raise PermissionError("ExpiredToken")

    cache = machine("one")
    monkeypatch.setattr(MemoryFileSystem, "put_file", expired)
    with pytest.raises(StorageError, match=r"memory://bucket/cache.*renew them"):
        cache.make("diarize", DIGEST, fill)
    monkeypatch.undo()
    assert machine("one").make("diarize", DIGEST, fail).drops == (DROP,)  # it was kept here
