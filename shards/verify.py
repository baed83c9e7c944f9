"""Verifying everything the format promises against the bytes. Damaged data is reported, never a crash."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

from corpus.schemas.clip import CLIP_FORM, ClipHead
from corpus.schemas.codec import from_json, reads
from corpus.schemas.dataset import SPLITS, Manifest, promised_sizes
from corpus.schemas.errors import CorpusError, FormatError, NewerSchemaError
from corpus.schemas.files import inside
from corpus.schemas.scratch import scratch
from corpus.schemas.settings import Settings
from corpus.schemas.store import Store, store_at
from corpus.schemas.urls import is_url
from corpus.schemas.workers import new_workers, no_main_module, stop_workers
from corpus.shards.card import dataset_card
from corpus.shards.check_clip import BROKEN
from corpus.shards.check_far import check_far_shard, far_shard
from corpus.shards.check_shard import PART_CLIPS, Part, Problem, check_part, same_bytes
from corpus.shards.columns import ClipRow
from corpus.shards.ends import largest_shard
from corpus.shards.index import no_dataset, read_index
from corpus.shards.write import CARD_FILE, CLIPS_FILE, MANIFEST_FILE, read_rows

WORTH_WORKERS_BYTES = 64 << 20
"""A smaller dataset is checked before other processes would have started."""
_Progress = Callable[[int], None]
Spread = Callable[[Callable[[Any], list[Problem]], Sequence[Any]], Iterable[list[Problem]]]
"""Runs a function on each job wherever there is capacity, and returns the results in order."""
_BESIDE = ("catalog.duckdb", "labels.duckdb", "reviews.parquet", "report.html")
"""Files that may stand in an output folder and are outside its promises; so are hidden ones and logs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyReport:
    """What was checked, and the problems found."""

    problems: tuple[Problem, ...]
    shards: int
    clips: int
    windows: int
    recordings: int

    @property
    def ok(self) -> bool:
        return not self.problems


def verify_dataset(
    out: Path | str,
    *,
    progress: _Progress | None = None,
    num_workers: int | None = None,
    spread: Spread | None = None,
) -> VerifyReport:
    """Verify the dataset in a folder or at a URL; `progress` gets the number of clips checked so far.

    This reads the dataset twice and recomputes its mel, on all processors; memory holds the index and, in
    each process, two clips. Each file at a URL is downloaded once, and each process keeps one shard at a
    time. `spread` replaces this machine's processes by any machines that see the folder or can reach the URL.

    Raises:
        DatasetError: there is no dataset.
        NewerSchemaError: it was written by a newer version, whose format is unknown here.
        StorageError: the URL cannot be read.
    """
    check: Spread = spread or partial(_side_by_side, num_workers=num_workers or len(os.sched_getaffinity(0)))
    if isinstance(out, str) and is_url(out):
        with scratch("corpus-verify-") as folder:
            return _verify(folder, store_at(out), progress, check)
    return _verify(Path(out).absolute() if spread else Path(out), None, progress, check)


def _verify(out: Path, store: Store | None, progress: _Progress | None, check: Spread) -> VerifyReport:
    """Check a folder; with a store, a folder that holds nothing yet of what is there."""
    if store is not None:
        _fetched(store, MANIFEST_FILE, out)
    if not (out / MANIFEST_FILE).is_file():
        raise no_dataset(store.shown if store is not None else str(out))
    try:
        manifest = from_json(Manifest, inside(out, MANIFEST_FILE).read_bytes(), where=MANIFEST_FILE)
    except NewerSchemaError:
        raise
    except FormatError as error:
        problem = Problem(code="manifest_broken", where=MANIFEST_FILE, what=str(error))
        return VerifyReport(problems=(problem,), shards=0, clips=0, windows=0, recordings=0)
    here, sizes = _found(out), dict[str, int]()
    if store is not None:
        for file in manifest.files:
            _fetched(store, file.path, out)
        sizes = {one.name: one.bytes for one in store.list() if not _is_beside(one.name)}
        here = set(sizes)
    problems = list(_files(out, manifest, here))
    rows = _rows(out, problems)
    problems += _index(manifest, rows)
    problems += _card(out, manifest)
    problems += _settings(manifest, rows)
    problems += _splits(rows)
    parts = _parts(out, manifest, rows, problems)
    if store is None:
        problems += _checked(parts, progress, check)
    else:
        problems += _checked_far(store, parts, sizes, progress, check)
    return VerifyReport(
        problems=tuple(problems),
        shards=len(manifest.shards),
        clips=len(rows),
        windows=sum(row.windows for row in rows),
        recordings=len({row.recording for row in rows}),
    )


def _fetched(store: Store, name: str, folder: Path) -> None:
    """Copy the store's file; if it is missing, so is the copy, which is then reported as missing."""
    with suppress(FileNotFoundError):
        store.fetch(name, folder)


def _files(out: Path, manifest: Manifest, here: Set[str]) -> Iterator[Problem]:
    """The files must be those in the manifest; card and index must have the sizes and hashes it gives."""
    promised = {*promised_sizes(manifest), MANIFEST_FILE}
    if {entry.path for entry in manifest.files} != {CARD_FILE, CLIPS_FILE}:
        yield Problem(code="manifest_files", where=MANIFEST_FILE, what="must list the card and the index")
    for path in sorted(here - promised):
        yield Problem(code="extra_file", where=path, what="the manifest does not name this file")
    for file in manifest.files:
        yield from same_bytes(out, file)


def _is_beside(name: str) -> bool:
    top = name.partition("/")[0]
    return top in _BESIDE or top.startswith(".") or Path(top).suffix in (".wal", ".log")


def _found(out: Path) -> set[str]:
    """Paths of the files that count as part of the dataset."""
    names = set()
    for path in out.iterdir():
        if _is_beside(path.name):
            continue
        inner = [p for p in path.rglob("*") if not p.is_dir()] if path.is_dir() else [path]
        names |= {p.relative_to(out).as_posix() for p in inner}
    return names


def _rows(out: Path, problems: list[Problem]) -> list[ClipRow]:
    try:
        return read_rows(out)
    except BROKEN as error:
        problems.append(Problem(code="index_broken", where=CLIPS_FILE, what=str(error)))
        return []


def _index(manifest: Manifest, rows: Sequence[ClipRow]) -> Iterator[Problem]:
    """The index must be in order, and its figures must match the manifest."""
    order = [(SPLITS.index(row.split) if row.split in SPLITS else -1, row.key) for row in rows]
    for (_, left), (_, right) in ((a, b) for a, b in pairwise(order) if a >= b):
        yield Problem(code="order", where=CLIPS_FILE, what=f"{right} must not come after {left}")
    if len({row.key for row in rows}) != len(rows):
        yield Problem(code="keys", where=CLIPS_FILE, what="a key occurs twice")
    figures = (len(rows), sum(row.windows for row in rows), len({row.recording for row in rows}))
    if figures != (manifest.clips, manifest.windows, manifest.recordings):
        said = (manifest.clips, manifest.windows, manifest.recordings)
        what = f"clips, windows, recordings are {figures}, the manifest says {said}"
        yield Problem(code="figures", where=CLIPS_FILE, what=what)
    if not reads(ClipHead, manifest.clip_schema):
        what = f"clip_schema is {manifest.clip_schema!r}, must be {CLIP_FORM!r}"
        yield Problem(code="manifest_form", where=MANIFEST_FILE, what=what)
    by_shard = [(path, len(list(group))) for path, group in groupby(rows, key=lambda row: row.shard)]
    if by_shard != [(shard.path, shard.clips) for shard in manifest.shards]:
        what = "its shards, in order and with their clips, are not those of the manifest"
        yield Problem(code="shard_list", where=CLIPS_FILE, what=what)


def _card(out: Path, manifest: Manifest) -> Iterator[Problem]:
    """The card must match the shards. A card of an older form lacks the fields added since."""
    if manifest.clip_schema != CLIP_FORM:
        return
    try:
        if (out / CARD_FILE).read_text("utf-8") != dataset_card(
            {shard.split for shard in manifest.shards}, read_index(out), manifest.config
        ):
            yield Problem(code="card", where=CARD_FILE, what="is not the card of these shards")
    except (OSError, ValueError, CorpusError) as error:
        yield Problem(code="card", where=CARD_FILE, what=str(error))


def _settings(manifest: Manifest, rows: Sequence[ClipRow]) -> Iterator[Problem]:
    """Clips and shards must be no larger than the settings in the manifest allow."""
    try:
        settings = from_json(Settings, manifest.settings)
    except CorpusError as error:
        yield Problem(code="settings", where=MANIFEST_FILE, what=str(error))
        return
    for row in rows:
        if row.windows > settings.clips.windows_per_clip:
            yield Problem(code="clip_windows", where=f"{row.shard}: {row.key}", what=f"{row.windows} windows")
    for shard in manifest.shards:
        most = largest_shard(settings.shards.shard_bytes)
        if shard.clips > 1 and shard.bytes > most:
            what = f"{shard.bytes} bytes, a shard has at most {most}"
            yield Problem(code="shard_bytes", where=shard.path, what=what)


def _splits(rows: Iterable[ClipRow]) -> Iterator[Problem]:
    """No recording, conversation or person known by name may be on two sides of a split."""
    sides: dict[tuple[str, str], set[str]] = defaultdict(set)
    for row in rows:
        sides["recording", row.recording].add(row.split)
        if row.conversation is not None:
            sides["conversation", row.conversation].add(row.split)
        for name in row.named_speakers:
            sides["speaker", name].add(row.split)
    for (kind, name), splits in sides.items():
        if len(splits) > 1:
            what = f"{kind} {name!r} is in {' and '.join(sorted(splits))}"
            yield Problem(code=f"split_{kind}", where=CLIPS_FILE, what=what)


def _parts(out: Path, manifest: Manifest, rows: Sequence[ClipRow], problems: list[Problem]) -> Sequence[Part]:
    """The shards' tars and every clip in them, in parts that can be checked in parallel."""
    of_shard: dict[str, list[ClipRow]] = defaultdict(list)
    for row in rows:
        of_shard[row.shard].append(row)
    parts: list[Part] = []
    last: ClipRow | None = None
    for number, shard in enumerate(manifest.shards):
        place = sum(s.split == shard.split for s in manifest.shards[:number])
        if shard.path != f"{shard.split}/{shard.split}-{place:06d}.tar" or shard.split not in SPLITS:
            what = "is not the next shard of its split"
            problems.append(Problem(code="shard_name", where=shard.path, what=what))
        here = of_shard[shard.path]
        parts.append(Part(out=out, shard=shard, rows=tuple(here), tar=True))
        for first in range(0, len(here), PART_CLIPS):
            some = tuple(here[first : first + PART_CLIPS])
            parts.append(Part(out=out, shard=shard, rows=some, tar=False, before=last))
            last = some[-1]
    return parts


def _checked(parts: Sequence[Part], progress: _Progress | None, check: Spread) -> Iterator[Problem]:
    done = 0
    for part, problems in zip(parts, check(check_part, parts), strict=True):
        yield from problems
        for _ in () if part.tar else part.rows:
            done += 1
            if progress:
                progress(done)


def _checked_far(
    store: Store,
    parts: Sequence[Part],
    sizes: Mapping[str, int],
    progress: _Progress | None,
    check: Spread,
) -> Iterator[Problem]:
    """Check shards in a store, one per job; the worker downloads its shard."""
    groups = groupby(parts, key=lambda part: part.shard.path)
    jobs = [far_shard(store, list(group), sizes) for _, group in groups]
    done = 0
    for job, problems in zip(jobs, check(check_far_shard, jobs), strict=True):
        yield from problems
        done += sum(len(part.rows) for part in job.parts if not part.tar)
        if progress:
            progress(done)


def _side_by_side(
    function: Callable[[Any], list[Problem]], jobs: Sequence[Any], num_workers: int
) -> Iterator[list[Problem]]:
    if num_workers < 2 or sum(job.bytes for job in jobs) < WORTH_WORKERS_BYTES:
        yield from map(function, jobs)
        return
    done = 0
    workers = new_workers(num_workers)
    try:
        with no_main_module():  # the first job starts the workers
            checked = workers.map(function, jobs)
        for problems in checked:
            yield problems
            done += 1
        rest: Sequence[Any] = ()
    except BrokenProcessPool:  # memory ran out, or the machine's owner ended one: the rest is checked here
        rest = jobs[done:]
    finally:
        stop_workers(workers, at_once=done < len(jobs))
    yield from map(function, rest)
