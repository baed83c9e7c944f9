"""A cue as a row of the catalog's table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from corpus.schemas.conversation import Cue, CueSpan

CUE_COLUMNS = (
    "cue_id, label::VARCHAR, kind, speaker, start_us, stop_us, confidence, origin, partner, "
    "thresholds::VARCHAR, evidence::VARCHAR, spans"
)
"""The columns of table `cues` that `cue_of_row` needs."""


def cue_of_row(row: Sequence[Any]) -> Cue:
    name, label, kind, speaker, start, stop, sure, origin, partner, thresholds, evidence, spans = row
    return Cue(
        id=name, label=label, kind=kind, speaker=speaker, start_us=start, stop_us=stop, confidence=sure,
        origin=origin, partner=partner, thresholds=thresholds, evidence=evidence,
        spans=tuple(CueSpan(**span) for span in spans),
    )  # fmt: skip
