"""What the program and its worker processes do without, to begin sooner."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from types import ModuleType


class _NoPandas:
    """Tells whoever looks for pandas that it is not installed."""

    def find_spec(
        self, name: str, path: object = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name == "pandas":
            raise ModuleNotFoundError("corpus does without pandas", name=name)
        return None


_is_own = False


def own_this_process() -> None:
    """Say that the process is the program's: nobody else's code runs in it."""
    global _is_own
    _is_own = True


def load_pyarrow_lightly() -> None:
    """As the next one in a process of the program's; nothing in a library's caller."""
    if _is_own:
        load_pyarrow_without_pandas()


def load_pyarrow_without_pandas() -> None:
    """pyarrow imports pandas with its first array, to see whether it was given one of pandas' own.

    That takes longer than all else a small command does. pyarrow asks once and remembers the answer, so this
    is for the program, never for a library's caller: pyarrow's `to_pandas` does not work behind it.
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
