"""hesitation / stall: "so", "well", "um okay", said to gain time or keep the floor before continuing."""

from __future__ import annotations

from corpus.align.cues.linear import released_models
from corpus.align.cues.unit_features import run_features
from corpus.align.cues.units import short_runs, units_said
from corpus.schemas.conversation import Conversation, Cue
from corpus.schemas.evidence import as_json
from corpus.schemas.settings import CueSettings
from corpus.schemas.turn_taking import in_order

_ORIGIN = "stall/1"


def stall(conversation: Conversation, settings: CueSettings) -> list[Cue]:
    """Runs of short words that are sufficiently likely to be a stall."""
    model = released_models()["runs"]
    cues: list[Cue] = []
    for unit in units_said(conversation, settings.ipu_bridge_us):
        for first, stop in short_runs(unit):
            likely = model.probability(run_features(unit, first, stop))["stall"]
            start_us, stop_us = unit.words[first].start_us, unit.words[stop - 1].stop_us
            if likely * 100 < settings.stall_threshold_percent or start_us is None or stop_us is None:
                continue
            cues.append(
                Cue(
                    label="hesitation",
                    kind="stall",
                    speaker=unit.speaker,
                    start_us=start_us,
                    stop_us=max(start_us, stop_us),
                    confidence=round(likely, 3),
                    origin=_ORIGIN,
                    thresholds=as_json(
                        ipu_bridge_us=settings.ipu_bridge_us,
                        stall_threshold_percent=settings.stall_threshold_percent,
                    ),
                    evidence=as_json(
                        text=" ".join(unit.texts[first:stop]),
                        words_after=len(unit.texts) - stop,
                        silence_before_us=unit.before_us if first == 0 else 0,
                    ),
                )
            )
    return in_order(cues)
