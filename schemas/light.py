"""Imports that the program and its worker processes avoid, to start faster."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from types import ModuleType


class _NoPandas:
    """An import hook that reports pandas as not installed."""

    def find_spec(
        self, name: str, path: object = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name == "pandas":
            raise ModuleNotFoundError("corpus does without pandas", name=name)
        return None


_is_own = False


def own_this_process() -> None:
    """Declare that this process belongs to the program: no other code runs in it."""
    global _is_own
    _is_own = True


def load_pyarrow_lightly() -> None:
    """Call `load_pyarrow_without_pandas` in a process of the program; do nothing in a library's caller."""
    if _is_own:
        load_pyarrow_without_pandas()


def load_pyarrow_without_pandas() -> None:
    """Load pyarrow without pandas, which it imports with its first array to check for pandas' own types.

    That import takes longer than everything else in a small command. pyarrow checks once and remembers the
    result, so this is for the program only, never for a library's caller: pyarrow's `to_pandas` does not work
    afterwards.
    """
    if "pandas" in sys.modules:
        return
    import pyarrow

    blocker = _NoPandas()
    sys.meta_path.insert(0, blocker)
    try:
        pyarrow.scalar(0)
    finally:
        sys.meta_path.remove(blocker)
