"""Check one shard against the index: its tar, and its clips in parts, which are checked in parallel."""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from corpus.schemas.clip import MEMBERS
from corpus.schemas.dataset import ShardEntry
from corpus.schemas.errors import DatasetError, FormatError
from corpus.schemas.files import inside
from corpus.shards.check_clip import BROKEN, CheckedClip, check_clip
from corpus.shards.columns import ClipRow
from corpus.shards.row import Place
from corpus.shards.tar import BLOCK, END, Member, members, padding

PART_CLIPS = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A promise that is broken."""

    code: str
    """Stable short name, `words_with_underscores`."""
    where: str
    """File, and the clip in it."""
    what: str
    """A sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A unit of checking: a shard's tar, or some of its clips."""

    out: Path
    shard: ShardEntry
    rows: tuple[ClipRow, ...]
    tar: bool
    before: ClipRow | None = None
    """The clip before the first one; it may be of the same recording."""

    @property
    def bytes(self) -> int:
        return 0 if self.tar else sum(row.size for row in self.rows)


def check_part(part: Part) -> list[Problem]:
    """All that is wrong with it."""
    data = _mapped(part.out, part.shard.path)
    if data is None:
        lost = Problem(code="tar", where=part.shard.path, what="is empty or cannot be read")
        return [lost] if part.tar else []
    if part.tar:
        found, problems = _clips_of(data, part.shard)
        return [*problems, *_compare(part.shard, found, part.rows)]
    problems, before = [], _clip_before(part)
    for row in part.rows:
        some, before = _checked(data, row, before, part.shard)
        problems += some
    return problems


def _clip_before(part: Part) -> CheckedClip | None:
    """What the first clip's check needs of the clip before it, whose own problems its own part reports."""
    row = part.before
    if row is None or not part.rows or row.recording != part.rows[0].recording:
        return None
    data = _mapped(part.out, row.shard)
    if data is None:
        return None
    try:
        return check_clip(data, row, None)[1]
    except BROKEN:
        return None


def _mapped(out: Path, path: str) -> memoryview | None:
    try:
        with open(inside(out, path), "rb") as file:
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except (OSError, ValueError, DatasetError):
        return None


def _clips_of(data: memoryview, shard: ShardEntry) -> tuple[dict[str, Place], list[Problem]]:
    """Where the clips are, by the tar's own headers."""
    listed: list[Member] = []
    problems = []
    try:
        for member in members(data, where=shard.path):
            listed.append(member)
    except FormatError as error:
        problems.append(Problem(code="tar", where=shard.path, what=error.what))
    found = {}
    # Five members a clip, in order: any other order breaks readers that stream.
    for i in range(0, len(listed), len(MEMBERS)):
        group = listed[i : i + len(MEMBERS)]
        key = group[0].name.partition(".")[0]
        if [member.name for member in group] != [f"{key}.{suffix}" for suffix in MEMBERS]:
            what = f"{key} does not have its five members in order"
            problems.append(Problem(code="members", where=shard.path, what=what))
            continue
        found[key] = _place(data, group)
    return found, problems


def _place(data: memoryview, group: Sequence[Member]) -> Place:
    # A clip begins with its first member's header and ends with its last member's padding.
    start = group[0].offset - BLOCK
    stop = group[-1].offset + group[-1].size + padding(group[-1].size)
    return Place(
        offset=start,
        size=stop - start,
        member_offsets=tuple(member.offset for member in group),
        member_sizes=tuple(member.size for member in group),
        sha256=hashlib.sha256(data[start:stop]).hexdigest(),
    )


def _compare(shard: ShardEntry, found: dict[str, Place], rows: Sequence[ClipRow]) -> Iterator[Problem]:
    """The index agrees with the tar about which clips there are and where."""
    if list(found) != [row.key for row in rows]:
        what = "the clips of the tar are not those of clips.parquet, in this order"
        yield Problem(code="clip_list", where=shard.path, what=what)
    for row in rows:
        place = found.get(row.key)
        if place is not None and place != _place_of(row):
            what = "offsets, sizes or hash differ from clips.parquet"
            yield Problem(code="place", where=f"{shard.path}: {row.key}", what=what)
        if row.split != shard.split:
            what = f"is of {row.split}, in a shard of {shard.split}"
            yield Problem(code="split", where=f"{shard.path}: {row.key}", what=what)
    windows = sum(row.windows for row in rows)
    if (shard.clips, shard.windows) != (len(rows), windows):
        what = f"{len(rows)} clips, {windows} windows; the manifest says {shard.clips}, {shard.windows}"
        yield Problem(code="figures", where=shard.path, what=what)
    if rows and shard.bytes != sum(row.size for row in rows) + len(END):
        yield Problem(code="figures", where=shard.path, what="is not as long as its clips together")


def _place_of(row: ClipRow) -> Place:
    return Place(
        offset=row.offset,
        size=row.size,
        member_offsets=row.member_offsets,
        member_sizes=row.member_sizes,
        sha256=row.sha256,
    )


def _checked(
    data: memoryview, row: ClipRow, before: CheckedClip | None, shard: ShardEntry
) -> tuple[list[Problem], CheckedClip | None]:
    """Problems of one clip, and what the next clip's check needs of it."""
    where = f"{shard.path}: {row.key}"
    try:
        found, clip = check_clip(data, row, before)
    except BROKEN as error:
        return [Problem(code="clip_broken", where=where, what=str(error))], None
    return [Problem(code=code, where=where, what=what) for code, what in found], clip
