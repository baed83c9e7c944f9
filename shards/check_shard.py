"""Checking one shard against the index: its tar, and its clips in parts, which are checked in parallel."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from corpus.schemas.clip import MEMBERS
from corpus.schemas.dataset import FileEntry, ShardEntry
from corpus.schemas.errors import CorpusError, DatasetError, FormatError
from corpus.schemas.files import inside, sha256_file
from corpus.shards.check_clip import BROKEN, CheckedClip, check_clip, read_clip
from corpus.shards.columns import ClipRow
from corpus.shards.shard_file import ShardFile
from corpus.shards.tar import BLOCK, END, Member, members, padding

PART_CLIPS = 8
"""Few clips per part, so that no processor waits long for the last part; each reads one clip more."""

_Place = tuple[int, int, tuple[int, ...], tuple[int, ...]]
"""A clip's offset and size, and those of its members."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A violation of the format."""

    code: str
    """Stable short name, `words_with_underscores`."""
    where: str
    """The file, and the clip in it."""
    what: str
    """The problem as a sentence."""


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
    """All problems of the part."""
    if part.tar:
        return [*same_bytes(part.out, part.shard), *_tar_problems(part)]
    problems: list[Problem] = []
    file, before = _opened(part.out, part.shard.path), _clip_before(part)
    if file is None:
        return problems
    for row in part.rows:
        some, before = _checked(file, row, before, part.shard)
        problems += some
    return problems


def same_bytes(out: Path, entry: FileEntry | ShardEntry) -> Iterator[Problem]:
    """Whether the file has the size and the digest given in the manifest."""
    path = entry.path
    try:
        size = inside(out, path).stat().st_size
        if size != entry.bytes:
            what = f"holds {size} bytes, the manifest says {entry.bytes}"
            yield Problem(code="size", where=path, what=what)
        elif sha256_file(out / path) != entry.sha256:
            yield Problem(code="sha256", where=path, what="the bytes do not match the manifest")
    except DatasetError as error:
        yield Problem(code="outside", where=path, what=error.what)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        yield Problem(code="missing_file", where=path, what=f"cannot be read: {reason}")


def _tar_problems(part: Part) -> list[Problem]:
    shard = part.shard
    file = _opened(part.out, shard.path)
    if file is None:
        return [Problem(code="tar", where=shard.path, what="is empty or cannot be read")]
    clips, problems = _clips_of(file, shard)
    return [*problems, *_compare(shard, clips, part.rows)]


def _clip_before(part: Part) -> CheckedClip | None:
    """What the first clip's check needs of the clip before it, whose own problems its own part reports."""
    row = part.before
    if row is None or not part.rows or row.recording != part.rows[0].recording:
        return None
    file = _opened(part.out, row.shard)
    if file is None:
        return None
    try:
        return read_clip(_clip_bytes(file, row), row)
    except BROKEN:
        return None


def _opened(out: Path, path: str) -> ShardFile | None:
    """The shard as long as it is, whatever the manifest says; None where it is empty or cannot be read."""
    try:
        place = inside(out, path)
        file = ShardFile(place, place.stat().st_size)
    except (OSError, ValueError, DatasetError):
        return None
    return file if file.size else None


def _clip_bytes(file: ShardFile, row: ClipRow) -> memoryview:
    if row.offset < 0 or row.size < 0 or row.offset + row.size > file.size:
        raise FormatError("the clip lies outside the shard")
    return file.read(row.offset, row.offset + row.size)


def _clips_of(file: ShardFile, shard: ShardEntry) -> tuple[dict[str, _Place], list[Problem]]:
    """Where the clips are, by the tar's own headers."""
    listed: list[Member] = []
    problems = []
    try:
        for member in members(file.read, file.size, where=shard.path):
            listed.append(member)
    except CorpusError as error:
        problems.append(Problem(code="tar", where=shard.path, what=error.what))
    places = {}
    # Five members a clip, in order: any other order breaks readers that stream.
    for i in range(0, len(listed), len(MEMBERS)):
        group = listed[i : i + len(MEMBERS)]
        key = group[0].name.partition(".")[0]
        if [member.name for member in group] != [f"{key}.{suffix}" for suffix in MEMBERS]:
            what = f"{key} does not have its five members in order"
            problems.append(Problem(code="members", where=shard.path, what=what))
            continue
        # A clip begins with its first member's header and ends with its last member's padding.
        start, stop = group[0].offset - BLOCK, group[-1].offset + group[-1].size + padding(group[-1].size)
        offsets, sizes = (tuple(member.offset for member in group), tuple(member.size for member in group))
        places[key] = (start, stop - start, offsets, sizes)
    return places, problems


def _compare(shard: ShardEntry, found: dict[str, _Place], rows: Sequence[ClipRow]) -> Iterator[Problem]:
    """The index agrees with the tar about which clips there are and where."""
    if list(found) != [row.key for row in rows]:
        what = "the clips in the tar are not those of clips.parquet, in that order"
        yield Problem(code="clip_list", where=shard.path, what=what)
    for row in rows:
        place = found.get(row.key)
        if place is not None and place != (row.offset, row.size, row.member_offsets, row.member_sizes):
            what = "offsets or sizes differ from clips.parquet"
            yield Problem(code="place", where=f"{shard.path}: {row.key}", what=what)
        if row.split != shard.split:
            what = f"is of {row.split}, in a shard of {shard.split}"
            yield Problem(code="split", where=f"{shard.path}: {row.key}", what=what)
    windows = sum(row.windows for row in rows)
    if (shard.clips, shard.windows) != (len(rows), windows):
        what = f"{len(rows)} clips, {windows} windows; the manifest says {shard.clips}, {shard.windows}"
        yield Problem(code="figures", where=shard.path, what=what)
    if rows and shard.bytes != sum(row.size for row in rows) + len(END):
        yield Problem(code="figures", where=shard.path, what="its length is not that of its clips together")


def _checked(
    file: ShardFile, row: ClipRow, before: CheckedClip | None, shard: ShardEntry
) -> tuple[list[Problem], CheckedClip | None]:
    """Problems of one clip, and what the next clip's check needs of it."""
    where = f"{shard.path}: {row.key}"
    faults: list[tuple[str, str]] = []
    try:
        data = _clip_bytes(file, row)
        if hashlib.sha256(data).hexdigest() != row.sha256:
            faults.append(("place", "its hash differs from clips.parquet"))
        more, clip = check_clip(data, row, before)
    except BROKEN as error:
        more, clip = [("clip_broken", str(error))], None
    return [Problem(code=code, where=where, what=what) for code, what in (*faults, *more)], clip
