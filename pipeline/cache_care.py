"""Cache maintenance: finding damaged artifacts, removing unused ones."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from corpus.pipeline.artifact import HEAD, read_artifact
from corpus.pipeline.state import STATE
from corpus.pipeline.versions import STAGES
from corpus.schemas.errors import UsageError
from corpus.schemas.files import storage_errors

SECONDS_PER_DAY = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class _Care:
    """The artifacts that were checked or removed."""

    artifacts: int
    bytes: int
    damaged: tuple[str, ...] = ()


def check(folder: Path) -> _Care:
    """Read every artifact of a cache and check its digests."""
    paths = list(_artifacts(folder))
    damaged = tuple(str(path) for path in paths if read_artifact(path) is None)
    return _Care(artifacts=len(paths), bytes=sum(map(_size, paths)), damaged=damaged)


def prune(folder: Path, days: int) -> _Care:
    """Remove artifacts unused for this many days, and those without a head."""
    since = time.time() - days * SECONDS_PER_DAY
    # By last use, not by age: what every build reads must not go.
    old = [path for path in _artifacts(folder) if _last_used(path) < since]
    size = sum(map(_size, old))
    with storage_errors(folder):
        for path in old:
            shutil.rmtree(path)
    return _Care(artifacts=len(old), bytes=size)


def _artifacts(folder: Path) -> Iterator[Path]:
    """Folders named by a digest inside a stage's folder; nothing else is ever touched."""
    root = folder / STATE if (folder / STATE).is_dir() else folder
    stages = [root / stage for stage in (*STAGES, "record", "catalog") if (root / stage).is_dir()]
    if not stages:
        raise UsageError("holds no stage artifacts", where=str(folder), todo="name a dataset, or its --cache")
    for stage in stages:
        yield from sorted(p for p in stage.glob("*/*") if re.fullmatch("[0-9a-f]{64}", p.name))


def _last_used(path: Path) -> float:
    head = path / HEAD
    return head.stat().st_mtime if head.is_file() else 0.0


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
