"""All cues that follow from timing and words alone."""

from __future__ import annotations

from corpus.align.cues.backchannel import backchannel
from corpus.align.cues.filled_pause import filled_pause
from corpus.align.cues.hold import hold
from corpus.align.cues.interruption import interruption
from corpus.align.cues.overlap import overlap
from corpus.align.cues.yields import yields
from corpus.schemas.conversation import Conversation, Cue
from corpus.schemas.settings import CueSettings
from corpus.schemas.turn_taking import in_order

LABELERS = (overlap, yields, hold, interruption, backchannel, filled_pause)


def label(conversation: Conversation, settings: CueSettings) -> list[Cue]:
    """Every labeler's cues by time. The order of the conversation's turns and words does not matter."""
    return in_order([cue for labeler in LABELERS for cue in labeler(conversation, settings)])
