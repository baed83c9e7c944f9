"""Progress of the recordings being built: workers write lines to disk, the build reads them."""

from __future__ import annotations

import os
import secrets
import time
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from corpus.pipeline.state import Running
from corpus.schemas.codec import from_json, to_json
from corpus.schemas.drops import StageName
from corpus.schemas.errors import FormatError
from corpus.schemas.files import write_whole


class Messenger(Protocol):
    """Receives a build's progress, to show it to the user."""

    def phase(self, name: str, total: int) -> None:
        """A phase with `total` steps begins."""

    def at(self, done: float, detail: str) -> None:
        """This many steps are done, including fractions; `detail` names the current ones."""

    def say(self, line: str) -> None:
        """Report a line worth keeping."""


class Quiet:
    """Discards all progress."""

    def phase(self, name: str, total: int) -> None:
        pass

    def at(self, done: float, detail: str) -> None:
        pass

    def say(self, line: str) -> None:
        pass


SECONDS_BETWEEN_WRITES = 0.5
_PROCESS = secrets.token_hex(8)
"""A name for this process; two machines may have the same pids."""


class Reporter:
    """A worker's side: writes at most twice a second, so that stages may call it for every packet."""

    def __init__(self, folder: Path, uri: str) -> None:
        self._path = folder / f"running-{_PROCESS}.json"
        self._uri = uri
        self._last = 0.0
        self.stage: StageName = "probe"
        """The worker's current stage; a failure is reported under it."""
        folder.mkdir(parents=True, exist_ok=True)

    def at(self, stage: StageName) -> None:
        """Report that a stage begins; always written."""
        self._last = 0.0
        self(stage, 0.0)

    def __call__(self, stage: StageName, share: float) -> None:
        self.stage = stage
        now = time.monotonic()
        if now - self._last >= SECONDS_BETWEEN_WRITES:
            self._last = now
            running = Running(uri=self._uri, stage=stage, share=min(1.0, max(0.0, share)))
            with suppress(OSError):  # a progress bar must not end a build
                write_whole(self._path, to_json(running).encode())

    def close(self) -> None:
        self._path.unlink(missing_ok=True)


_MOST_READ = 32
_READ_OF_MANY = 8
"""Lines that are read where there are more."""


def running_now(folder: Path) -> tuple[tuple[Running, ...], int]:
    """The build's side: workers' last lines by uri (only some of hundreds), and how many more there are."""
    try:
        listed = os.listdir(folder)
    except FileNotFoundError:
        listed = []
    names = sorted(name for name in listed if name.startswith("running-") and name.endswith(".json"))
    lines = []
    read = len(names) if len(names) <= _MOST_READ else _READ_OF_MANY
    for name in names[:read]:
        try:
            lines.append(from_json(Running, (folder / name).read_bytes()))
        except (FileNotFoundError, FormatError):
            continue  # the worker ended, or the machine stopped, between listing and reading
    return tuple(sorted(lines, key=lambda running: running.uri)), len(names[read:])
