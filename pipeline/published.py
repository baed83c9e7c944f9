"""The recordings in OUT: an unchanged one is recognised by one small record (kept in memory.py)."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from corpus.pipeline.identify import Identity
from corpus.report.catalog import CATALOG_FILE, open_catalog
from corpus.schemas.codec import from_json, to_json
from corpus.schemas.drops import Drop
from corpus.schemas.errors import DatasetError, FormatError
from corpus.schemas.files import sha256_file, write_whole

CATALOGS_FILE = "catalogs.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedRecording:
    """One recording of the dataset."""

    recording: str
    uri: str
    key: str
    """Digest of everything that went into its clips."""
    split: str
    segment: str
    """Digest of its cut."""
    annotations: tuple[str, ...]
    """Name and sha256 of the annotation files beside it."""
    names: tuple[str, ...]
    """People named in those files."""
    drops: tuple[Drop, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """Recordings of a dataset."""

    recordings: tuple[PublishedRecording, ...] = ()

    @property
    def by_recording(self) -> Mapping[str, PublishedRecording]:
        return {one.recording: one for one in self.recordings}

    @property
    def names(self) -> Mapping[tuple[str, ...], tuple[str, ...]]:
        """People named in annotation files, by the files' digests: they need not be read again."""
        return {one.annotations: one.names for one in self.recordings}


def annotations_of(identity: Identity) -> tuple[str, ...]:
    return tuple(f"{Path(mark.place).name} {mark.sha256}" for mark in identity.sidecars)


def sha256_or_none(path: Path) -> str:
    """The file's digest; "" if it cannot be read."""
    try:
        return sha256_file(path)
    except OSError:
        return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Catalogs:
    """The last two catalogs written by builds: the newer may not have been moved into place."""

    sha256s: tuple[str, ...] = ()
    looks: tuple[str, ...] = ()
    """Size and time of each, "" if not noted; a file with this look is not read."""


def announce_catalog(folder: Path, sha256: str, file: Path | None = None) -> None:
    """Remember a catalog before it is moved into place: any other one found there was edited by somebody.

    `file` is the catalog, if moving it will not change its time.
    """
    before = _announced(folder)
    looks = (*before.looks, *[""] * len(before.sha256s))[: len(before.sha256s)]
    now = _Catalogs(
        sha256s=(*before.sha256s[-1:], sha256), looks=(*looks[-1:], _look(file) if file is not None else "")
    )
    write_whole(folder / CATALOGS_FILE, to_json(now).encode())


def refuse_edited_catalog(folder: Path, out: Path) -> None:
    """Refuse to overwrite a catalog that somebody has edited. A damaged one may be overwritten.

    Raises:
        DatasetError: it was changed since a build wrote it.
    """
    path, ours = out / CATALOG_FILE, _announced(folder).sha256s
    # A write-ahead log means that a program wrote to it and did not close it.
    edited = path.with_name(path.name + ".wal").exists()
    if not edited and ours and path.exists() and catalog_sha256(folder, out) not in ours:
        # It opens, so it is not merely damaged.
        with suppress(DatasetError), open_catalog(out):
            edited = True
    if edited:
        raise DatasetError(
            "catalog.duckdb was changed since it was built, and a build would overwrite the changes",
            where=str(path),
            todo="keep your own tables in a file that attaches this one read-only; move or remove this one "
            "and build again",
        )


def catalog_sha256(folder: Path, out: Path) -> str:
    """The catalog's digest, "" without one; it is read only if its look is not that of a build's catalog."""
    path, known = out / CATALOG_FILE, _announced(folder)
    look = _look(path)
    for sha256, noted in zip(known.sha256s, known.looks, strict=False):
        if look and look == noted:
            return sha256
    return sha256_or_none(path)


def _look(path: Path) -> str:
    try:
        state = path.stat()
    except OSError:
        return ""
    return f"{state.st_size} {state.st_mtime_ns}"


def _announced(folder: Path) -> _Catalogs:
    path = folder / CATALOGS_FILE
    try:
        return from_json(_Catalogs, path.read_bytes(), where=str(path))
    except (OSError, FormatError):
        return _Catalogs()
