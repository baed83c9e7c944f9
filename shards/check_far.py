"""Checking one shard of a dataset at a URL, on any machine: it is downloaded, verified and removed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from corpus.schemas.dataset import SPLITS
from corpus.schemas.scratch import scratch
from corpus.schemas.store import Store
from corpus.shards.check_shard import Part, Problem, check_part
from corpus.shards.columns import ClipRow


@dataclass(frozen=True, slots=True, kw_only=True)
class FarShard:
    """The parts of one shard, and its location."""

    store: Store
    parts: tuple[Part, ...]
    before: ClipRow | None
    """The last clip of the previous shard, if the first clip here continues it."""

    @property
    def bytes(self) -> int:
        return self.parts[0].shard.bytes


def far_shard(store: Store, parts: Sequence[Part], sizes: Mapping[str, int]) -> FarShard:
    """The check of a shard; `sizes` are those of the files in the store."""
    shard = parts[0].shard
    first = next((part for part in parts if not part.tar), None)
    before = first.before if first is not None else None
    if before is not None and (
        before.shard == shard.path
        or before.recording != first.rows[0].recording  # type: ignore[union-attr]
        or not 0 <= before.offset < before.offset + before.size <= sizes.get(before.shard, 0)
    ):
        before = None
    return FarShard(store=store, parts=tuple(parts), before=before)


def check_far_shard(job: FarShard) -> list[Problem]:
    """All problems of the shard; this also downloads one clip of its neighbour.

    Raises:
        StorageError: the store cannot be read.
    """
    # Whoever verifies removes this folder, even if this process is killed; other machines do not have it.
    place = job.parts[0].out if job.parts[0].out.is_dir() else None
    with scratch("corpus-verify-", place) as out:
        if _is_inside(job.parts[0].shard.path):
            with suppress(FileNotFoundError):  # named as missing by the check
                job.store.fetch(job.parts[0].shard.path, out)
        if job.before is not None and _is_inside(job.before.shard):
            _fetch_clip(job.store, job.before, out)
        return [problem for part in job.parts for problem in check_part(replace(part, out=out))]


def _is_inside(path: str) -> bool:
    """Whether a path of a manifest stays inside its folder."""
    parts = path.split("/")
    return not path.startswith("/") and ".." not in parts and parts[0] in SPLITS


def _fetch_clip(store: Store, row: ClipRow, out: Path) -> None:
    """Put one clip at its place in an otherwise empty file."""
    with suppress(FileNotFoundError):
        data = store.open_range(row.shard, row.offset, row.offset + row.size)
        path = out / row.shard
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "wb") as file:
            file.seek(row.offset)
            file.write(data)
