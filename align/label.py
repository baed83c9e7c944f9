"""All cues from timing, words and voices, with the answers to them and which labels could be made."""

from __future__ import annotations

import json
from dataclasses import replace

from corpus.align.cues.backchannel import backchannel
from corpus.align.cues.filled_pause import filled_pause
from corpus.align.cues.hold import hold
from corpus.align.cues.interruption import interruption
from corpus.align.cues.invitation import invitation
from corpus.align.cues.made import knows_language, labels_made, with_reasons
from corpus.align.cues.overlap import overlap
from corpus.align.cues.prolongation import prolongation
from corpus.align.cues.self_correction import self_correction
from corpus.align.cues.silent_pause import silent_pause
from corpus.align.cues.stall import stall
from corpus.align.cues.thinking import thinking
from corpus.align.cues.yields import yields
from corpus.align.prosody.heard import Heard
from corpus.schemas.answers import with_answers
from corpus.schemas.conversation import CUE_KINDS, Conversation, Cue
from corpus.schemas.prosody import Tracks
from corpus.schemas.settings import CueSettings
from corpus.schemas.turn_taking import in_order

LABELERS = {
    "overlap": (overlap,),
    "interruption": (interruption,),
    "backchannel": (backchannel,),
    "hesitation": (filled_pause, stall),
    "self_correction": (self_correction,),
}
LISTENERS = {
    "yield": (yields,),
    "hold": (hold,),
    "hesitation": (prolongation, silent_pause),
    "invitation": (invitation,),
    "thinking": (thinking,),
}
"""Labelers that also use how the voices sound."""


def label_cues(
    conversation: Conversation,
    settings: CueSettings,
    told: frozenset[str] = frozenset(),
    tracks: Tracks | None = None,
) -> list[Cue]:
    """The cues of all labelers, by time, except for the labels in `told`.

    `tracks` is how the voices sound; without it evidence holds only words and times. The order of the
    conversation's turns and words does not matter.
    """
    possible = {entry.label for entry in labels_made(conversation) if entry.made} - told
    if not knows_language(conversation):  # a geometric backchannel needs no words, and shall see none
        conversation = replace(conversation, words=())
    heard = Heard(tracks, conversation) if tracks is not None and settings.prosody else None
    cues = [
        cue
        for name, labelers in LABELERS.items()
        if name in possible
        for labeler in labelers
        for cue in labeler(conversation, settings)
    ]
    cues += [
        cue
        for name, listeners in LISTENERS.items()
        if name in possible
        for listener in listeners
        for cue in listener(conversation, settings, heard)
    ]
    return in_order(cues)


def told_labels(conversation: Conversation) -> frozenset[str]:
    """The labels that the conversation's file covers: by its cues, its gold labels or its `labels_made`."""
    labels = {cue.label for cue in conversation.cues}
    labels |= {entry.label for entry in conversation.labels_made if entry.made}
    for event in conversation.events:
        if (event.label, event.kind) == ("note", "gold_labels"):
            labels |= set(json.loads(event.payload).get("gold_labels", ())) & CUE_KINDS.keys()
    return frozenset(labels)


def with_cues(
    conversation: Conversation, settings: CueSettings, tracks: Tracks | None = None
) -> Conversation:
    """The conversation with the machine's cues added; labels it already covers are left alone."""
    given = told_labels(conversation)
    cues = (*conversation.cues, *label_cues(conversation, settings, given, tracks))
    return with_reasons(replace(conversation, cues=cues), given)


def labelled(conversation: Conversation, settings: CueSettings) -> Conversation:
    """The conversation with cues and answers, in canonical order, with ids."""
    return with_answers(with_cues(conversation, settings), settings)
