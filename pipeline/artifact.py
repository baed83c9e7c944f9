"""An artifact's folder: its files, and a head with their digests."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from corpus.schemas.codec import from_json, to_json
from corpus.schemas.drops import Drop
from corpus.schemas.errors import FormatError
from corpus.schemas.files import sha256_file

HEAD = "artifact.json"
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    path: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Head:
    """An artifact's files, and the Drops of the run that made it, so that a cache hit repeats them."""

    files: tuple[_File, ...]
    drops: tuple[Drop, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """A complete artifact: its folder, and the Drops from making it."""

    folder: Path
    digest: str
    drops: tuple[Drop, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept(Generic[Value]):
    """A stage's result, and the artifact that stores it."""

    value: Value
    artifact: Artifact

    @property
    def folder(self) -> Path:
        return self.artifact.folder

    @property
    def digest(self) -> str:
        return self.artifact.digest

    @property
    def drops(self) -> tuple[Drop, ...]:
        return self.artifact.drops


def write_head(folder: Path, drops: tuple[Drop, ...]) -> None:
    """Write two lines: the head, and its own digest."""
    names = sorted(path for path in folder.rglob("*") if path.is_file())
    files = tuple(_File(path=p.relative_to(folder).as_posix(), sha256=sha256_file(p)) for p in names)
    text = to_json(_Head(files=files, drops=drops))
    # The head vouches for the files; its own digest vouches for the head.
    digest = hashlib.sha256(text.encode()).hexdigest()
    (folder / HEAD).write_text(f"{text}\n{digest}\n", encoding="utf-8")


def read_artifact(folder: Path, names: Sequence[str] = ()) -> Artifact | None:
    """The artifact in a folder if every byte (of these files) is intact, otherwise None."""
    try:
        head = head_of((folder / HEAD).read_bytes())
        read = [file for file in head.files if not names or file.path in names]
        if any(sha256_file(folder / file.path) != file.sha256 for file in read):
            return None
    except (OSError, FormatError):
        return None
    return Artifact(folder=folder, digest=folder.name, drops=head.drops)


def head_of(content: bytes) -> _Head:
    """A head from its file.

    Raises:
        FormatError: the head is damaged.
    """
    text, _, digest = content.partition(b"\n")
    if digest != f"{hashlib.sha256(text).hexdigest()}\n".encode():
        raise FormatError("the head of an artifact is damaged")
    return from_json(_Head, text)
