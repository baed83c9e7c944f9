"""A build's own files in `OUT/.cache`, beside artifacts: lock, status, quarantine, invocation.

Everything here is for people and for the next build; none of it is part of the dataset.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from corpus.pipeline.lock import is_locked, locked
from corpus.schemas.codec import from_json, to_json
from corpus.schemas.dataset import SPLITS
from corpus.schemas.drops import Drop
from corpus.schemas.errors import DatasetError, FormatError, StorageError
from corpus.schemas.files import storage_errors, write_whole

T = TypeVar("T")

STATE = ".cache"
QUARANTINE_FILES = ("quarantine.json", "quarantine.jsonl")
"""What is quarantined, and what a running build has added."""
_REMOVE = "remove this file and build again"


@dataclass(frozen=True, slots=True, kw_only=True)
class Invocation:
    """How a build was called, so that `errors retry` can call it again."""

    inputs: tuple[str, ...]
    folder: str
    """The working directory that relative inputs are relative to."""
    cache: str | None
    num_workers: int
    settings: str
    """JSON text of the settings."""
    local_urls: tuple[str, ...] = ()
    """Those of `inputs` whose URLs may reach this machine and its network."""
    cache_url: str | None = None
    engine: Literal["local", "ray"] = "local"
    address: str | None = None
    """Ray's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A recording that is being built."""

    uri: str
    stage: str
    share: float
    """How much of the stage is done, in [0, 1]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """A build's progress. Rewritten while it runs."""

    phase: str
    """identify, build, write, done, failed, interrupted."""
    recordings: int
    done: int
    faults: int
    running: tuple[Running, ...]
    pid: int
    detail: str = ""
    more: int = 0
    """How many are being built besides those in `running`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantined:
    """An item that is not built until its inputs or settings change or it is retried."""

    uri: str
    key: str
    """Digest of everything that determined the failure; "" if it cannot be known."""
    drops: tuple[Drop, ...]
    built: bool
    """True if the recording was built nevertheless, without the parts named in the drops."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantine:
    items: tuple[Quarantined, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """Inputs and outputs of the last complete build. If both are the same, there is nothing to do."""

    key: str
    """Digest of the inputs' marks, the settings and all versions."""
    outputs: tuple[tuple[str, ...], ...]
    """Path, size and mtime_ns of every file of the dataset, as text."""
    exit_code: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Damaged:
    """Files that `verify` found damaged, for the next build to remake."""

    paths: tuple[str, ...]


class State:
    """The state folder of one output folder."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.folder = out / STATE

    def create(self) -> None:
        """Create the folder, or raise an error that says why that failed."""
        if self.folder.is_symlink():
            todo = "replace the link with the folder itself, or name another cache with --cache"
            raise DatasetError("is a link; a build writes into the dataset only", where=str(self.folder),
                               todo=todo)  # fmt: skip
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            # Better now than after an hour of decoding.
            probe = self.folder / ".writable"
            probe.write_bytes(b"")
            probe.unlink()
        except OSError as error:
            raise StorageError(
                f"cannot write here: {error.strerror}", where=str(self.out), todo="choose another --out"
            ) from error

    def locked(self, say: Callable[[str], None] = lambda line: None) -> AbstractContextManager[None]:
        """Hold the output folder; see `lock.locked`."""
        return locked(self.folder, self.out, say)

    def is_locked(self) -> bool:
        return is_locked(self.folder)

    def own_name(self) -> str:
        """A name unique to this output folder, even against the same path in another container."""
        path = self.folder / "name"
        with suppress(OSError):
            if re.fullmatch("[0-9a-f]{16}", name := path.read_text("ascii", "replace")):
                return name
        name = secrets.token_hex(8)
        with storage_errors(path):
            write_whole(path, name.encode())
        return name

    def _write(self, name: str, value: object) -> None:
        with storage_errors(self.folder / name):
            write_whole(self.folder / name, to_json(value).encode())

    def _remove(self, path: Path) -> None:
        with storage_errors(path):
            path.unlink(missing_ok=True)

    def save_invocation(self, invocation: Invocation) -> None:
        self._write("invocation.json", invocation)

    def invocation(self) -> Invocation:
        path = self.folder / "invocation.json"
        if not path.is_file():
            raise DatasetError(
                "no build was started here", where=str(self.out), todo="start one with `corpus build`"
            )
        return _read(Invocation, path)

    def save_status(self, status: Status) -> None:
        self._write("status.json", status)

    def status(self) -> Status | None:
        path = self.folder / "status.json"
        return _read(Status, path) if path.is_file() else None

    def save_quarantine(self, quarantine: Quarantine) -> None:
        self._write(QUARANTINE_FILES[0], quarantine)
        self._remove(self._added)

    def append_quarantined(self, item: Quarantined) -> None:
        """Add one item behind those saved: a line, whatever there is already."""
        with storage_errors(self._added), open(self._added, "ab") as file:
            file.write(to_json(item).encode() + b"\n")

    def quarantine(self) -> Quarantine:
        """What is saved and what was added since."""
        path = self.folder / QUARANTINE_FILES[0]
        saved = _read(Quarantine, path).items if path.is_file() else ()
        try:
            # The last line is cut off where a build was killed while it wrote it.
            lines = _content(self._added).split(b"\n")[:-1]
        except FileNotFoundError:
            return Quarantine(items=saved)
        added = [_parsed(Quarantined, line, self._added) for line in lines]
        return Quarantine(items=tuple(dict.fromkeys((*saved, *added))))

    @property
    def _added(self) -> Path:
        return self.folder / QUARANTINE_FILES[1]

    def save_damaged(self, paths: Sequence[str]) -> None:
        """Record what `verify` found; an empty list clears it."""
        path = self.folder / "damaged.json"
        if paths:
            self.folder.mkdir(exist_ok=True)
            self._write(path.name, _Damaged(paths=tuple(sorted(set(paths)))))
        else:
            self._remove(path)

    def damaged(self) -> tuple[str, ...]:
        try:
            return _read(_Damaged, self.folder / "damaged.json").paths
        except (FileNotFoundError, FormatError):
            return ()

    def doubted(self, *, everything: bool) -> frozenset[str]:
        """Outputs that changed since the last complete build, or that `verify` found damaged."""
        finished = self.finished()
        # Sizes and times only: what looks untouched is not read.
        now = outputs_of(self.out)
        if everything:
            return frozenset(path for path, *_ in now)
        left = set(finished.outputs) if finished else set()
        changed = {output[0] for output in now if finished and output not in left}
        return frozenset(changed | set(self.damaged()))

    def save_finished(self, finished: Finished) -> None:
        self._write("finished.json", finished)

    def forget_finished(self) -> None:
        """Make the next build check everything."""
        self._remove(self.folder / "finished.json")

    def finished(self) -> Finished | None:
        """None if no build completed or the file is damaged: the next one then checks everything."""
        try:
            return _read(Finished, self.folder / "finished.json")
        except (FileNotFoundError, FormatError):
            return None


def _read(cls: type[T], path: Path) -> T:
    return _parsed(cls, _content(path), path)


def _content(path: Path) -> bytes:
    """The file's bytes; raises FileNotFoundError or FormatError."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:  # a folder, a link to itself, a bad block
        reason = f"cannot be read: {error.strerror}"
        raise FormatError(reason, where=str(path), todo=_REMOVE) from error


def _parsed(cls: type[T], text: bytes, path: Path) -> T:
    try:
        return from_json(cls, text, where=str(path))
    except FormatError as error:
        raise FormatError(error.what, where=str(path), todo=_REMOVE) from error


OUTPUTS = ("manifest.json", "README.md", "clips.parquet", "catalog.duckdb", "report.html")


def outputs_of(out: Path) -> tuple[tuple[str, ...], ...]:
    """Path, size and mtime_ns of every file that a build writes, in order; reviews are not the build's."""
    shards = sorted(p for split in SPLITS for p in (out / split).glob("*.tar"))
    outputs = []
    for path in (*(out / name for name in OUTPUTS), *shards):
        if path.is_file():
            state = path.stat()
            relative = path.relative_to(out).as_posix()
            outputs.append((relative, str(state.st_size), str(state.st_mtime_ns)))
    return tuple(outputs)
