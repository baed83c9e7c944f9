"""What OUT holds, recording by recording: what has not changed since is known by one small record.

The table vouches for one manifest and one catalog, named by their digests; beside others it says nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from corpus.pipeline.identify import Identity
from corpus.report.catalog import CATALOG_FILE, open_catalog
from corpus.schemas.codec import from_json, to_json
from corpus.schemas.dataset import MANIFEST_FILE
from corpus.schemas.drops import Drop
from corpus.schemas.errors import DatasetError, FormatError
from corpus.schemas.files import sha256_file, storage_errors, write_whole

TABLE_FILE = "published.json"
CATALOGS_FILE = "catalogs.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedRecording:
    """One recording of the dataset."""

    recording: str
    key: str
    """Digest of everything that went into its clips."""
    split: str
    segment: str
    """Digest of its cut."""
    annotations: tuple[str, ...]
    """Name and sha256 of the annotation files beside it."""
    names: tuple[str, ...]
    """Whom those vouch for."""
    drops: tuple[Drop, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A dataset's recordings, and what they were published as."""

    config: str = ""
    manifest_sha256: str = ""
    catalog_sha256: str = ""
    recordings: tuple[PublishedRecording, ...] = ()

    @property
    def by_recording(self) -> Mapping[str, PublishedRecording]:
        return {one.recording: one for one in self.recordings}

    @property
    def names(self) -> Mapping[tuple[str, ...], tuple[str, ...]]:
        """By the annotation files' digests, whom they vouch for: they need not be read again."""
        return {one.annotations: one.names for one in self.recordings}


def annotations_of(identity: Identity) -> tuple[str, ...]:
    return tuple(f"{Path(mark.place).name} {mark.sha256}" for mark in identity.sidecars)


def read_published(folder: Path, out: Path, config: str) -> Published:
    """The table of the dataset that stands in `out`; an empty one where it is of another or of none."""
    path = folder / TABLE_FILE
    try:
        found = from_json(Published, path.read_bytes(), where=str(path))
    except (OSError, FormatError):
        return Published()
    stands = (config, sha256_or_none(out / MANIFEST_FILE), sha256_or_none(out / CATALOG_FILE))
    return found if (found.config, found.manifest_sha256, found.catalog_sha256) == stands else Published()


def save_published(folder: Path, published: Published) -> None:
    with storage_errors(folder / TABLE_FILE):
        write_whole(folder / TABLE_FILE, to_json(published).encode())


def sha256_or_none(path: Path) -> str:
    """ "" where the file cannot be read."""
    try:
        return sha256_file(path)
    except OSError:
        return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Catalogs:
    """The catalogs that builds have written, by sha256; the last two, as one may not have come into place."""

    sha256s: tuple[str, ...] = ()


def announce_catalog(folder: Path, sha256: str) -> None:
    """Remember a catalog before it is put in place: every other one that stands there is somebody's work."""
    last = _announced(folder)[-1:]
    write_whole(folder / CATALOGS_FILE, to_json(_Catalogs(sha256s=(*last, sha256))).encode())


def refuse_edited_catalog(folder: Path, out: Path) -> None:
    """Stop before a catalog is overwritten that somebody has changed. A damaged one is nobody's work.

    Raises:
        DatasetError: it was changed since a build wrote it.
    """
    path, ours = out / CATALOG_FILE, _announced(folder)
    edited = path.with_name(path.name + ".wal").exists()
    if not edited and ours and path.exists() and sha256_or_none(path) not in ours:
        with suppress(DatasetError), open_catalog(out):
            edited = True
    if edited:
        raise DatasetError(
            "catalog.duckdb was changed since it was built, and a build would overwrite that",
            where=str(path),
            todo="keep your own tables in a file that attaches this one read-only; move or remove this one "
            "and build again",
        )


def _announced(folder: Path) -> tuple[str, ...]:
    path = folder / CATALOGS_FILE
    try:
        return from_json(_Catalogs, path.read_bytes(), where=str(path)).sha256s
    except (OSError, FormatError):
        return ()
