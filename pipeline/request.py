"""A build's request and its outcome."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from corpus.schemas.drops import UNFETCHED, VANISHED, Drop
from corpus.schemas.settings import Settings

EXIT_OK = 0
EXIT_FAULTS = 3
LEAST_FOR_A_TASK = 500
"""Inputs from which on a cluster identifies them, lays out their clips, and makes catalog and report."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What to build, where, and with what."""

    inputs: tuple[str, ...]
    out: Path
    settings: Settings
    cache: Path | None = None
    cache_url: str | None = None
    """Where artifacts that are expensive to make are also stored, for other machines."""
    num_workers: int = 1
    engine: Literal["local", "ray"] = "local"
    """Processes of this machine, or a Ray cluster that sees inputs, cache and OUT under the same paths."""
    address: str | None = None
    """Ray's address; without it Ray starts on this machine only."""
    rehash: bool = False
    """Read every input again, even if path, size and time are unchanged."""
    allow_removals: bool = False
    """Remove recordings from the dataset that the inputs no longer name."""
    local_urls: tuple[str, ...] = ()
    """Those of `inputs` whose URLs may reach this machine and its network."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a build ended."""

    exit_code: int
    unchanged: bool
    recordings: int = 0
    """Recordings built."""
    clips: int = 0
    windows: int = 0
    shards: int = 0
    shards_written: int = 0
    """New or changed shards; the others were not touched."""
    drops: tuple[Drop, ...] = ()
    """Of the recordings that were looked at; faults of all."""
    trims: int = 0
    """How many of all drops were expected."""
    poor: tuple[str, ...] = ()
    """Warnings about poor data, one line each, with the recordings' names."""

    @property
    def faults(self) -> tuple[Drop, ...]:
        return tuple(d for d in self.drops if d.kind == "fault")

    @property
    def may_pass(self) -> bool:
        """Whether a fault may be gone the next time though no input has changed."""
        return any(fault.code in (UNFETCHED, VANISHED) for fault in self.faults)
