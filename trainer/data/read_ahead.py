"""Compute an iterator's items ahead of their use, in a thread."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from types import TracebackType
from typing import Generic, TypeVar

T = TypeVar("T")


class Ahead(Generic[T]):
    """The items of an iterator, at most `depth` of them waiting. No item may be None, which marks the end."""

    def __init__(self, source: Iterator[T], depth: int) -> None:
        self._source = source
        self._items: queue.Queue[T | BaseException | None] = queue.Queue(depth)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="read-ahead", daemon=True)

    def __enter__(self) -> Iterator[T]:
        self._thread.start()
        return iter(self._take, None)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _take(self) -> T | None:
        item = self._items.get()
        if isinstance(item, BaseException):
            raise item
        return item

    def _run(self) -> None:
        try:
            for item in self._source:
                if not self._put(item):
                    return
            self._put(None)
        except BaseException as error:  # raised again in the thread that waits for the batch
            self._put(error)

    def _put(self, item: T | BaseException | None) -> bool:
        while not self._stop.is_set():  # a full queue whose reader has left must not block for ever
            try:
                self._items.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False
