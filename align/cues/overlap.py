"""overlap: two speakers talk at the same time. One cue per pair and stretch, given to the one who came in."""

from __future__ import annotations

from itertools import combinations

from corpus.schemas.conversation import Conversation, Cue
from corpus.schemas.evidence import as_json
from corpus.schemas.settings import CueSettings
from corpus.schemas.span import Span, intersect
from corpus.schemas.turn_taking import SpeechIndex, in_order, speech_by_speaker

_ORIGIN = "overlap/1"


def overlap(conversation: Conversation, settings: CueSettings) -> list[Cue]:
    """Every stretch, not shorter than the threshold, in which two speakers both have a turn."""
    spans = speech_by_speaker(conversation)
    talks = {name: SpeechIndex(of_speaker) for name, of_speaker in spans.items()}
    cues: list[Cue] = []
    for left, right in combinations(spans, 2):
        for both in intersect(spans[left], spans[right]):
            if both.duration_us >= settings.overlap_shortest_us:
                first, second = _in_turn(left, right, talks, both)
                cues.append(_cue(first, second, both, settings))
    return in_order(cues)


def _in_turn(left: str, right: str, talks: dict[str, SpeechIndex], both: Span) -> tuple[str, str]:
    """Who was talking, and who came in: the later start; at the same start, the later name."""

    def began(name: str) -> tuple[int, str]:
        unit = talks[name].at(both.start_us)
        assert unit is not None
        return (unit.start_us, name)

    first, second = sorted((left, right), key=began)
    return first, second


def _cue(first: str, second: str, both: Span, settings: CueSettings) -> Cue:
    return Cue(
        label="overlap",
        kind="simultaneous",
        speaker=second,
        partner=first,
        start_us=both.start_us,
        stop_us=both.stop_us,
        confidence=1.0,
        origin=_ORIGIN,
        thresholds=as_json(
            overlap_shortest_us=settings.overlap_shortest_us,
        ),
        evidence=as_json(
            duration_us=both.duration_us,
        ),
    )
