"""interruption: somebody starts inside another's talk and does not stop at once.

`floor_taking`: the other falls silent and the newcomer continues. `butting_in`: the other keeps the floor.
Timing alone does not distinguish an interruption from eager agreement, so the confidence is low.
"""

from __future__ import annotations

from corpus.schemas.conversation import Conversation, Cue
from corpus.schemas.evidence import as_json
from corpus.schemas.settings import CueSettings
from corpus.schemas.span import Span
from corpus.schemas.turn_taking import SpeechIndex, Unit, in_order, speech_by_speaker

_ORIGIN = "interruption/1"
_CONFIDENCE = 0.5


def interruption(conversation: Conversation, settings: CueSettings) -> list[Cue]:
    """Units of sufficient length that start inside another speaker's unit and overlap it long enough."""
    spans = speech_by_speaker(conversation, bridge_us=settings.ipu_bridge_us)
    talks = {name: SpeechIndex(of_speaker) for name, of_speaker in spans.items()}
    cues: list[Cue] = []
    for name, of_speaker in spans.items():
        for span in of_speaker:
            if span.duration_us >= settings.interruption_shortest_us:
                cues += _of_unit(Unit(name, span), talks, settings)
    return in_order(cues)


def _of_unit(unit: Unit, talks: dict[str, SpeechIndex], settings: CueSettings) -> list[Cue]:
    cues: list[Cue] = []
    for name, other in talks.items():
        floor = other.at(unit.span.start_us) if name != unit.speaker else None
        if floor is None or floor.start_us == unit.span.start_us:
            continue
        both = floor & unit.span
        if both is not None and both.duration_us >= settings.interruption_overlap_us:
            cues.append(_cue(unit, name, floor, both, settings))
    return cues


def _cue(unit: Unit, floor_holder: str, floor: Span, both: Span, settings: CueSettings) -> Cue:
    return Cue(
        label="interruption",
        kind="floor_taking" if floor.stop_us < unit.span.stop_us else "butting_in",
        speaker=unit.speaker,
        partner=floor_holder,
        start_us=both.start_us,
        stop_us=both.stop_us,
        confidence=_CONFIDENCE,
        origin=_ORIGIN,
        thresholds=as_json(
            ipu_bridge_us=settings.ipu_bridge_us,
            interruption_shortest_us=settings.interruption_shortest_us,
            interruption_overlap_us=settings.interruption_overlap_us,
        ),
        evidence=as_json(
            overlap_us=both.duration_us,
            floor_held_before_us=unit.span.start_us - floor.start_us,
            unit_us=unit.span.duration_us,
        ),
    )
