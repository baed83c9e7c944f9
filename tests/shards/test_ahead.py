"""A file elsewhere, read ahead: its bytes in order, few blocks in memory, and whatever fails is raised."""

from __future__ import annotations

import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from corpus.schemas.errors import StorageError
from corpus.schemas.store import Stored
from corpus.shards import ahead
from corpus.shards.ahead import AheadFile


class File:
    """A store that is one file, and takes its time."""

    shown = "s3://bucket/x"

    def __init__(self, data: bytes, fails_from: int | None = None) -> None:
        self.data = data
        self.fails_from = fails_from
        self.asked: list[int] = []
        self._lock = threading.Lock()

    def look(self, name: str) -> Stored:
        return Stored(name=name, bytes=len(self.data), mark="same")

    def open_range(self, name: str, start: int, end: int) -> bytes:
        with self._lock:
            self.asked.append(start)
        time.sleep(0.001 * (start % 3))
        if self.fails_from is not None and start >= self.fails_from:
            raise StorageError("the store gave up", where=self.shown)
        return self.data[start:end]


def _opened(file: Any, threads: ThreadPoolExecutor) -> AheadFile:
    return AheadFile(file, threads)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "BLOCK_BYTES", 100)


@pytest.mark.parametrize("size", [0, 1, 99, 100, 101, 1234])
def test_the_bytes_are_those_of_the_file_however_they_are_read(size: int) -> None:
    data = random.Random(size).randbytes(size)
    with ThreadPoolExecutor(3) as threads:
        for seed in range(5):
            draw = random.Random(seed)
            with _opened(File(data), threads) as file:
                parts = []
                while part := file.read(draw.choice((1, 7, 100, 250, 1000))):
                    parts.append(part)
                assert b"".join(parts) == data and file.read(10) == b""
        assert _opened(File(data), threads).read() == data


def test_no_more_blocks_are_asked_for_than_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    files = File(bytes(5000))
    with ThreadPoolExecutor(3) as threads:
        file = _opened(files, threads)
        time.sleep(0.05)
        assert files.asked == [0]  # until somebody reads
        for number in range(1, 51):
            file.read(100)
            assert max(files.asked) <= 100 * (number + ahead.BLOCKS_AHEAD)
        assert sorted(files.asked) == list(range(0, 5000, 100))


def test_what_fails_is_an_error_and_what_is_closed_asks_no_more() -> None:
    with ThreadPoolExecutor(3) as threads:
        file = _opened(File(bytes(1000), fails_from=300), threads)
        assert len(file.read(300)) == 300
        with pytest.raises(StorageError, match="the store gave up"):
            file.read(1)
        files = File(bytes(1000))
        with _opened(files, threads) as file:
            file.read(1)
        assert file.read(500) == bytes(99) and str(file) == "s3://bucket/x"
