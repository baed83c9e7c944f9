"""What was left out, and why."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

DropKind = Literal["trim", "fault"]
StageName = Literal[
    "input",
    "probe",
    "decode",
    "sight",
    "clock",
    "diarize",
    "transcribe",
    "channels",
    "voices",
    "prosody",
    "label",
    "quality",
    "filter",
    "cut",
    "write",
]
"""Where in a build something happens. In Drops the voices stage is called `channels`; `filter` refers to the
settings' table of filters."""

UNFETCHED, VANISHED = "unfetched", "vanished"
"""Codes of faults that may be gone at the next build though no input has changed: a URL that could not be
read, and a file that was there when the build began."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drop:
    """Something left out, and why. Every stage returns these beside its results."""

    item: str
    """What was left out: the uri of a recording, or the uri and a position in it."""
    stage: StageName
    kind: DropKind
    """`trim` is expected (a last partial window); `fault` quarantines the item."""
    code: str
    """Stable short name of the reason, for counting: `words_with_underscores`."""
    reason: str
    """The reason as a sentence for people, with what to do if anything can be done."""
    start_us: int | None = None
    """Time on the recording's clock; None if the whole item is concerned."""
    stop_us: int | None = None
    count: int = 1
    """How many similar items this stands for (samples, words, lines)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drops:
    """What was left out of several items."""

    drops: tuple[Drop, ...]


def in_order(drops: Iterable[Drop]) -> list[Drop]:
    """In the catalog's order, whatever order they were met in."""
    return sorted(drops, key=lambda d: (d.item, d.stage, d.code, d.start_us or 0, d.reason))
