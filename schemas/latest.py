"""A cache of the latest results of a slow function."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

K = TypeVar("K")
T = TypeVar("T")


class Latest(Generic[K, T]):
    """At most `most` values, those used last. Each is made once, even if several threads ask for it."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._values: OrderedDict[K, T] = OrderedDict()
        self._making: dict[K, threading.Lock] = {}
        self._lock = threading.Lock()

    def get(self, key: K, make: Callable[[], T]) -> T:
        """The value of the key, made by `make` if it is not cached. If `make` raises, nothing is cached."""
        # A lock for each key, so that two threads can make different values at the same time.
        with self._lock:
            making = self._making.setdefault(key, threading.Lock())
        with making:
            with self._lock:
                if key in self._values:
                    self._values.move_to_end(key)
                    return self._values[key]
            value = make()
            with self._lock:
                self._values[key] = value
                if len(self._values) > self._most:
                    self._making.pop(self._values.popitem(last=False)[0], None)
            return value
