"""Detecting stuck workers: stopped by a signal, or waiting for something that never comes."""

from __future__ import annotations

import time
from pathlib import Path

STOPPED_SECONDS = 30.0
"""A worker stopped by a signal for this long is killed. (Ctrl-Z also stops the build, and so this check.)"""
IDLE_SECONDS = 1800.0
"""So is one that has a job and has used no CPU time for this long."""


class Watchdog:
    """Tells, when polled for a process, whether to kill it. Works on Linux only (/proc)."""

    def __init__(self) -> None:
        self._since: dict[int, tuple[tuple[bool, int], float]] = {}

    def is_stuck(self, pid: int) -> bool:
        now = _look(pid)
        if now is None:
            return False
        before, since = self._since.setdefault(pid, (now, time.monotonic()))
        if now != before:  # it has worked, or was woken up: start over
            self._since[pid] = (now, time.monotonic())
            return False
        stopped, _ = now
        return time.monotonic() - since > (STOPPED_SECONDS if stopped else IDLE_SECONDS)


def _look(pid: int) -> tuple[bool, int] | None:
    """Whether a process is stopped, and the CPU time it has used, in ticks."""
    try:
        # Behind the last ")": a program's name may hold spaces and parentheses.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return fields[0] in "Tt", int(fields[11]) + int(fields[12])
