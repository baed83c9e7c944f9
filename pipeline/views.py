"""Catalog and report: one job, which makes them from the dataset's index and the recordings' pieces."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from corpus.pipeline.cache import Cache
from corpus.report.catalog import CATALOG_FILE, RunFacts, open_catalog, write_catalog
from corpus.report.page import REPORT_FILE, write_report
from corpus.report.poor import poor
from corpus.report.stats import dataset_stats
from corpus.schemas.dataset import CLIPS_FILE
from corpus.schemas.drops import Drops, in_order
from corpus.schemas.files import put_in_place, storage_errors, sync_file, temporary
from corpus.schemas.light import load_pyarrow_lightly
from corpus.schemas.reviews_file import REVIEWS_FILE
from corpus.schemas.row_file import unpacked

_DIGEST_BYTES = 32
_OLD_CATALOG_FILE = "before.duckdb"
"""Under a name of its own, so that a job which is repeated changes the same catalog again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewsJob:
    """Everything that the catalog and the report are made from."""

    folder: Path
    """Made by `views_folder`."""
    pieces: bytes
    """Digests of the rows of new and changed recordings, 32 bytes each."""
    gone: tuple[str, ...] | None
    """Recordings whose rows leave the old catalog; None for a new catalog."""
    drops: tuple[bytes, ...]
    """Everything left out, as packed `Drops`: a million of them would be long on their way elsewhere."""
    run: RunFacts
    cache_root: Path
    scratch: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Views:
    """What a job made in its folder."""

    catalog_sha256: str
    poor: tuple[str, ...]
    """Warnings about poor data, one line each."""


def make_views(job: ViewsJob) -> Views:
    """Write catalog and report into the job's folder; a job whose process died may be repeated there."""
    from corpus.pipeline.record import ROWS_STAGE

    load_pyarrow_lightly()
    cache = Cache(job.cache_root, job.scratch)
    sha256s: list[str] = []
    if job.gone is not None:
        (job.folder / CATALOG_FILE).unlink(missing_ok=True)
        _link(job.folder / _OLD_CATALOG_FILE, job.folder / CATALOG_FILE)
    write_catalog(
        job.folder,
        # Each is checked when it is its turn.
        (cache.need(ROWS_STAGE, piece).folder for piece in _digests(job.pieces)),
        in_order(one for part in job.drops for one in unpacked(Drops, part, job.folder).drops),
        job.run,
        instead_of=job.gone,
        announce=sha256s.append,
    )
    write_report(job.folder, dataset_stats(job.folder))
    with open_catalog(job.folder) as db:
        lines = tuple(one.line for one in poor(db))
    return Views(catalog_sha256=sha256s[-1], poor=lines)


def _digests(pieces: bytes) -> Iterator[str]:
    return (pieces[at : at + _DIGEST_BYTES].hex() for at in range(0, len(pieces), _DIGEST_BYTES))


def views_folder(out: Path, cache: Cache, *, with_catalog: bool) -> Path:
    """Make a folder for a job, with the files that it reads: index, reviews, the catalog to be updated."""
    folder = cache.scratch / f"views-{secrets.token_hex(8)}"
    names = {CLIPS_FILE: CLIPS_FILE, REVIEWS_FILE: REVIEWS_FILE}
    if with_catalog:
        names[CATALOG_FILE] = _OLD_CATALOG_FILE
    with storage_errors(folder):
        folder.mkdir(parents=True)
        for name, here in names.items():
            if (out / name).exists():
                _link(out / name, folder / here)
    return folder


def put_views(folder: Path, out: Path, announce: Callable[[Path], None]) -> None:
    """Move a job's results into the dataset, the catalog first; `announce` is called before that."""
    paths = [out / CATALOG_FILE, out / REPORT_FILE]
    try:
        with storage_errors(out):
            for path in paths:
                _move(folder / path.name, temporary(path))
            announce(temporary(paths[0]))
            for path in paths:
                put_in_place(path)
    finally:
        for path in paths:
            temporary(path).unlink(missing_ok=True)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another disk, or one without links
        shutil.copyfile(source, target)


def _move(source: Path, target: Path) -> None:
    try:
        os.replace(source, target)
    except OSError:
        target.unlink(missing_ok=True)  # never through a link
        shutil.copyfile(source, target)
        sync_file(target)
