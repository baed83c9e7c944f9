from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from corpus.schemas.latest import Latest


def test_the_values_asked_for_last_are_kept() -> None:
    latest, made = Latest[str, str](2), list[str]()

    def ask(key: str) -> str:
        def make() -> str:
            made.append(key)
            return key.upper()

        return latest.get(key, make)

    assert [ask(key) for key in "abacab"] == ["A", "B", "A", "C", "A", "B"]
    assert made == ["a", "b", "c", "b"]


def test_threads_that_want_the_same_make_it_once_and_others_do_not_wait() -> None:
    latest, made = Latest[int, int](8), list[int]()
    both = threading.Barrier(2, timeout=20)

    def make(key: int) -> int:
        # Passed only if both keys are being made at the same time.
        both.wait()
        time.sleep(0.02)
        made.append(key)
        return key

    with ThreadPoolExecutor(8) as pool:
        values = list(pool.map(lambda n: latest.get(n % 2, lambda: make(n % 2)), range(8)))
    assert values == [n % 2 for n in range(8)]
    assert sorted(made) == [0, 1]


def test_a_failure_is_not_kept() -> None:
    latest = Latest[str, int](2)

    def fail() -> int:
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        latest.get("a", fail)
    assert latest.get("a", lambda: 1) == 1
