"""When an answer to a cue or event is timely, and when keeping silent is right. Definitions: docs/cues.md."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, replace

from corpus.schemas.conversation import Answer, AnswerAction, Conversation, Cue, Event
from corpus.schemas.ids import with_answer_ids, with_ids
from corpus.schemas.settings import CueSettings
from corpus.schemas.span import Span, subtract, union
from corpus.schemas.turn_taking import SpeechIndex, speech_by_speaker

_WAITING = frozenset((("hold", "pause"), ("thinking", "pause"), ("thinking", "filler")))
"""Somebody pauses or stalls and then continues: the others keep silent."""
_ANSWERED_EVENTS = frozenset(("visual", "tool_result", "timer"))
"""Events that call for a spoken reaction, from their start on."""


@dataclass(frozen=True, slots=True)
class _Clock:
    """Who talks when in a conversation, in the form the answers need."""

    units: dict[str, SpeechIndex]
    speakers: tuple[str, ...]
    within_us: int
    duration_us: int


def _answers_to(conversation: Conversation, settings: CueSettings) -> list[Answer]:
    """The answers to a conversation's cues and events, one for each person who may answer or should wait.

    The cues and events must have ids. The result depends only on the conversation and the two settings.
    """
    spans = speech_by_speaker(conversation, bridge_us=settings.ipu_bridge_us)
    clock = _Clock(
        {name: SpeechIndex(answers) for name, answers in spans.items()},
        tuple(sorted(conversation.speakers)),
        settings.answer_within_us,
        conversation.duration_us,
    )
    answers: list[Answer] = []
    invited: dict[str | None, list[Span]] = {}
    for cue in conversation.cues:
        for span in _answer_spans(cue, clock):
            answers += _for_each(cue, span, "answer", clock)
            if cue.label == "invitation":
                invited.setdefault(cue.speaker, []).append(span)
    asked = {speaker: SpeechIndex(union(spans_of)) for speaker, spans_of in invited.items()}
    for cue in conversation.cues:
        if (cue.label, cue.kind) in _WAITING:
            # Who has asked has opened the floor: silence is not asked for while an answer is timely.
            opened = asked[cue.speaker].overlapping(cue.span) if cue.speaker in asked else ()
            for span in subtract([cue.span], opened):
                answers += _for_each(cue, span, "wait", clock)
    for event in conversation.events:
        if event.label in _ANSWERED_EVENTS:
            opens = _opened(event.start_us, None, clock)
            answers += _for_each(event, opens, "answer", clock) if opens else []
    return sorted(answers, key=lambda a: (a.start_us, a.stop_us, a.speaker or "", a.action, a.why, a.to))


def with_answers(conversation: Conversation, settings: CueSettings) -> Conversation:
    """The conversation in canonical order, with ids, and with the answers that its cues and events give."""
    known = with_ids(replace(conversation, answers=()))
    return replace(known, answers=with_answer_ids(_answers_to(known, settings)))


def _answer_spans(cue: Cue, clock: _Clock) -> list[Span]:
    """The spans in which an answer to the cue is timely; empty if it wants none or the floor stays taken."""
    if cue.label == "yield":
        opened = [_opened(cue.start_us, cue, clock)]
    elif cue.label == "invitation":
        opened = [_opened(_falls_silent_us(cue, clock), cue, clock)]
    elif cue.label == "visual" and cue.kind == "repetition":
        opened = _counts(cue, clock)
    elif cue.label == "visual":
        opened = [_opened(cue.start_us, None, clock)]
    else:
        opened = []
    return [span for span in opened if span]


def _falls_silent_us(cue: Cue, clock: _Clock) -> int | None:
    """When the asker falls silent: the end of the unit that holds the question's end; None if too late."""
    units = clock.units.get(cue.speaker or "")
    unit = units.at(cue.stop_us) if units else None
    stop_us = unit.stop_us if unit else cue.stop_us
    return stop_us if stop_us - cue.stop_us <= clock.within_us else None


def _counts(cue: Cue, clock: _Clock) -> list[Span | None]:
    """After each counted movement, until the next is complete; after the whole cue if they are not listed."""
    counted_us = sorted(part.stop_us for part in cue.spans if part.role == "repetition") or [cue.stop_us]
    spans: list[Span | None] = []
    for stop_us, next_us in zip(counted_us, [*counted_us[1:], clock.duration_us], strict=True):
        span = _opened(stop_us, None, clock)
        spans.append(span & Span(stop_us, max(stop_us, next_us)) if span else None)
    return spans


def _opened(from_us: int | None, cue: Cue | None, clock: _Clock) -> Span | None:
    """The span from this moment in which an answer is timely, up to the cue's own speaker's next word."""
    if from_us is None:
        return None
    until_us = min(from_us + clock.within_us, clock.duration_us)
    units = clock.units.get(cue.speaker) if cue and cue.speaker else None
    if cue and units:
        again_us = max(from_us, cue.stop_us)
        place = bisect_left(units.spans, Span(again_us, again_us))
        if place < len(units.spans):
            until_us = min(until_us, units.spans[place].start_us)
    return Span(from_us, until_us) if until_us > from_us else None


def _for_each(item: Cue | Event, span: Span, action: AnswerAction, clock: _Clock) -> list[Answer]:
    """Who takes the floor after a yield, else all but the cue's speaker; None if no one else is recorded."""
    taker = item.partner if isinstance(item, Cue) and item.label == "yield" else None
    others: list[str | None] = [name for name in clock.speakers if name != item.speaker]
    return [
        Answer(
            speaker=who,
            start_us=span.start_us,
            stop_us=span.stop_us,
            action=action,
            why=f"{item.label}/{item.kind}" if item.kind else item.label,
            to=item.id,
        )
        for who in ([taker] if taker else others or [None])
    ]
