"""hold: a pause after which the same speaker continues, without anybody else having spoken."""

from __future__ import annotations

from corpus.align.prosody.heard import Heard
from corpus.schemas.conversation import Conversation, Cue
from corpus.schemas.evidence import as_json
from corpus.schemas.settings import CueSettings
from corpus.schemas.turn_taking import in_order, speech_by_speaker, states

_ORIGIN = "hold/2"


def hold(conversation: Conversation, settings: CueSettings, heard: Heard | None = None) -> list[Cue]:
    """Silences with the same speaker alone for long enough on both sides."""
    chain = states(speech_by_speaker(conversation, bridge_us=settings.ipu_bridge_us))
    cues: list[Cue] = []
    for before, pause, after in zip(chain, chain[1:], chain[2:], strict=False):
        if pause.talking or pause.span.duration_us < settings.shift_silence_us:
            continue
        if before.talking != after.talking or len(before.talking) != 1:
            continue
        if min(before.span.duration_us, after.span.duration_us) < settings.shift_alone_us:
            continue
        (speaker,) = before.talking
        cues.append(
            Cue(
                label="hold",
                kind="pause",
                speaker=speaker,
                start_us=pause.span.start_us,
                stop_us=pause.span.stop_us,
                confidence=1.0,
                origin=_ORIGIN,
                thresholds=as_json(
                    ipu_bridge_us=settings.ipu_bridge_us,
                    shift_silence_us=settings.shift_silence_us,
                    shift_alone_us=settings.shift_alone_us,
                ),
                evidence=as_json(
                    alone_before_us=before.span.duration_us,
                    pause_us=pause.span.duration_us,
                    alone_after_us=after.span.duration_us,
                    before=heard.before(speaker, pause.span.start_us) if heard else {},
                    then={"goes_on_after_us": pause.span.duration_us},
                ),
            )
        )
    return in_order(cues)
