"""yield: a speaker gives the floor to another, in a silence (`turn_end`) or while both talk (`overlap`)."""

from __future__ import annotations

from corpus.align.prosody.heard import Heard
from corpus.schemas.conversation import Conversation, Cue
from corpus.schemas.evidence import as_json
from corpus.schemas.settings import CueSettings
from corpus.schemas.turn_taking import State, in_order, speech_by_speaker, states

_ORIGIN = "yield/2"


def yields(conversation: Conversation, settings: CueSettings, heard: Heard | None = None) -> list[Cue]:
    """Shifts of the floor: one speaker alone, then silence or both, then the other alone."""
    chain = states(speech_by_speaker(conversation, bridge_us=settings.ipu_bridge_us))
    cues: list[Cue] = []
    for before, between, after in zip(chain, chain[1:], chain[2:], strict=False):
        if not (_alone(before, settings) and _alone(after, settings)) or before.talking == after.talking:
            continue
        if not between.talking and between.span.duration_us >= settings.shift_silence_us:
            cues.append(_cue("turn_end", (before, between, after), heard, settings))
        elif between.talking == before.talking | after.talking:
            cues.append(_cue("overlap", (before, between, after), heard, settings))
    return in_order(cues)


def _alone(state: State, settings: CueSettings) -> bool:
    return len(state.talking) == 1 and state.span.duration_us >= settings.shift_alone_us


def _cue(kind: str, around: tuple[State, State, State], heard: Heard | None, settings: CueSettings) -> Cue:
    before, between, after = around
    (speaker,), (taker,) = before.talking, after.talking
    return Cue(
        label="yield",
        kind=kind,
        speaker=speaker,
        partner=taker,
        start_us=between.span.start_us,
        stop_us=between.span.stop_us,
        confidence=1.0,
        origin=_ORIGIN,
        thresholds=as_json(
            ipu_bridge_us=settings.ipu_bridge_us,
            shift_silence_us=settings.shift_silence_us,
            shift_alone_us=settings.shift_alone_us,
        ),
        evidence=as_json(
            alone_before_us=before.span.duration_us,
            between_us=between.span.duration_us,
            alone_after_us=after.span.duration_us,
            before=heard.before(speaker, between.span.start_us) if heard else {},
            then={"taken_by": taker},
        ),
    )
