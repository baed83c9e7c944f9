"""Everything that sight adds to a conversation: visual cues and faces with their speakers, or why not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from corpus.align.cues.bearing import gaze_away
from corpus.align.cues.faces import faces
from corpus.align.cues.head import head
from corpus.align.cues.motion import motion
from corpus.align.cues.posture import posture
from corpus.align.cues.repetition import repetition
from corpus.align.cues.scene_cut import scene_cut
from corpus.align.sight.events import face_events, seen_speaking
from corpus.align.sight.joint_events import joint_events
from corpus.align.sight.who import whose_faces
from corpus.schemas.clock import US
from corpus.schemas.conversation import Conversation, Cue, Event, LabelMade
from corpus.schemas.drops import Drop
from corpus.schemas.settings import VisualSettings
from corpus.schemas.sight import Seen
from corpus.schemas.span import Span, union
from corpus.schemas.turn_taking import in_order

BLACK_LUMA, BLACK_CONTRAST = 24.0, 3.0
"""A picture darker and flatter than this shows nothing."""
OFF = "sight is switched off (sight.enabled)"
NO_PICTURES = "the recording has no pictures, or they were left out"


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """The additions to a conversation."""

    cues: tuple[Cue, ...] = ()
    events: tuple[Event, ...] = ()
    made: tuple[LabelMade, ...] = ()
    """Whether the visual labels were made; empty if a file decides that."""
    drops: tuple[Drop, ...] = ()


def not_looked(reason: str) -> Looked:
    """No additions, with the reason."""
    return Looked(made=(LabelMade(label="visual", made=False, reason=reason),))


def look(conversation: Conversation, seen: Seen, settings: VisualSettings) -> Looked:
    """What sight adds: a pure function of who speaks when and what is seen."""
    if not len(seen.frames):
        return not_looked(NO_PICTURES)
    dark = _dark(seen)
    if sum(span.duration_us for span in dark) >= 0.95 * (seen.head.stop_us - seen.head.start_us):
        return not_looked("the picture is black")
    matches = whose_faces(seen, conversation, settings)
    speakers = {track: match.speaker for track, match in matches.items()}
    cues = [
        *scene_cut(seen, settings),
        *motion(seen, settings),
        *repetition(seen, settings),
        *faces(seen, speakers, settings),
        *head(seen, speakers, settings),
        *gaze_away(seen, speakers, settings),
        *posture(seen, speakers, settings),
    ]
    # A cue's evidence may reach past the end, where the last picture stays on longer than the sound.
    inside = [cue for cue in cues if cue.stop_us <= conversation.duration_us]
    events = [
        *face_events(seen, matches),
        *joint_events(seen, speakers),
        *seen_speaking(seen, matches, conversation),
    ]
    return Looked(
        cues=tuple(in_order(inside)),
        events=tuple(events),
        made=(LabelMade(label="visual", made=True),),
        drops=(*_of_dark(dark), *_of_still(seen), *_of_nobody(seen, speakers, conversation)),
    )


def _dark(seen: Seen) -> list[Span]:
    frames = seen.frames
    black = (frames["luma"] < BLACK_LUMA) & (frames["contrast"] < BLACK_CONTRAST)
    period_us = seen.head.period_us
    spans = [Span(int(t), int(t) + period_us) for t in seen.times_us[np.flatnonzero(black)]]
    return [span for span in union(spans, bridge_us=period_us) if span.duration_us >= US]


def _of_dark(spans: list[Span]) -> list[Drop]:
    return [
        Drop(
            item="",
            stage="label",
            kind="trim",
            code="black_picture",
            reason=f"the picture is black for {span.duration_us / US:.1f} s: nothing is said of what is seen",
            start_us=span.start_us,
            stop_us=span.stop_us,
        )
        for span in spans
    ]


def _of_still(seen: Seen) -> list[Drop]:
    return [
        Drop(
            item="",
            stage="label",
            kind="trim",
            code="still_face",
            reason="a face in which nothing moves, as in a poster or a slide: no label is made from it",
            start_us=track.start_us,
            stop_us=track.stop_us,
        )
        for track in seen.head.tracks
        if track.still
    ]


def _of_nobody(seen: Seen, speakers: dict[int, str], conversation: Conversation) -> list[Drop]:
    if not conversation.turns:
        return []
    unknown = [t for t in seen.head.tracks if not t.still and t.id not in speakers]
    if not unknown:
        return []
    return [
        Drop(
            item="",
            stage="label",
            kind="trim",
            code="nobodys_face",
            reason="faces whose mouths follow no voice clearly: they are given to no speaker",
            count=len(unknown),
            start_us=min(t.start_us for t in unknown),
            stop_us=max(t.stop_us for t in unknown),
        )
    ]
