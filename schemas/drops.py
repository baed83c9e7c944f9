"""What was left out, and why."""

from __future__ import annotations

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
"""Where in a build something happens. `channels` is what the voices stage calls itself in its Drops;
`filter` is the settings' table of filters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drop:
    """Something left out, and why. Every stage returns these beside its results."""

    item: str
    """What was left out: the uri of a recording, or uri and place in it."""
    stage: StageName
    kind: DropKind
    """`trim` is expected (a last partial window); `fault` puts the item in quarantine."""
    code: str
    """Stable short name of the reason, `words_with_underscores`, to count by."""
    reason: str
    """The reason as a sentence for a person, with what to do where something can be done."""
    start_us: int | None = None
    """Where on the recording's clock; None when it concerns the whole item."""
    stop_us: int | None = None
    count: int = 1
    """How many like things this stands for (samples, words, lines)."""
