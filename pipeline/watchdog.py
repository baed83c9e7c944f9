"""Workers that do nothing any more: stopped by a signal, or waiting for what never comes."""

from __future__ import annotations

import time
from pathlib import Path

STOPPED_SECONDS = 30.0
"""A worker stopped by a signal for so long is ended. (A Ctrl-Z stops the build too: then nobody looks.)"""
IDLE_SECONDS = 1800.0
"""So is one that has a job and has used no processor time for so long."""


class Watchdog:
    """Asked of a process every now and then, says when it is to be ended. Knows Linux' /proc only."""

    def __init__(self) -> None:
        self._since: dict[int, tuple[tuple[bool, int], float]] = {}

    def is_stuck(self, pid: int) -> bool:
        looks = _look(pid)
        if looks is None:
            return False
        before, since = self._since.setdefault(pid, (looks, time.monotonic()))
        if looks != before:
            self._since[pid] = (looks, time.monotonic())
            return False
        stopped, _ = looks
        return time.monotonic() - since > (STOPPED_SECONDS if stopped else IDLE_SECONDS)


def _look(pid: int) -> tuple[bool, int] | None:
    """Whether a process is stopped, and the processor time it has used, in ticks."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return fields[0] in "Tt", int(fields[11]) + int(fields[12])
