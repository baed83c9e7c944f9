"""Which clips of which files make up a shard: kept in a file, for the process that writes the shard."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from corpus.schemas.row_file import packed, unpacked


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Clips that are contiguous in a file."""

    file: str
    """Its path, as text, because runs are kept as JSON."""
    offset: int
    sizes: tuple[int, ...]
    sha256s: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Runs:
    runs: tuple[Run, ...]


def write_runs(path: Path, runs: Iterable[Run]) -> None:
    """Write the runs of a shard."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(packed(_Runs(runs=tuple(runs))))


def read_runs(path: Path) -> tuple[Run, ...]:
    """The runs of a shard, in order.

    Raises:
        FormatError: the file is damaged.
        OSError: it cannot be read.
    """
    return unpacked(_Runs, path.read_bytes(), path).runs
