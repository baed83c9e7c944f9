"""Remaking the labels of a conversation, while keeping those from files and people."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from corpus.align.cues.made import TOLD, with_reasons
from corpus.align.label import label_cues, told_labels
from corpus.schemas.conversation import CUE_KINDS, Conversation, Cue
from corpus.schemas.prosody import Tracks
from corpus.schemas.settings import CueSettings

HUMAN = "human:"
VISUAL = "visual"
MACHINES = frozenset(
    (
        *CUE_KINDS["visual"],
        *("backchannel", "filled_pause", "hold", "interruption", "invitation", "overlap", "prolongation"),
        *("self_correction", "self_correction_rule", "silent_pause", "stall", "thinking", "yield"),
        *("motion", "faces", "head", "gaze_away", "posture"),
    )
)
"""The labelers' names, as origins give them before the version."""


def remade(
    conversation: Conversation, settings: CueSettings, tracks: Tracks | None, *, keep_people: bool
) -> Conversation:
    """The conversation with the machine's cues remade, without their ids and without answers.

    Visual cues, cues of files, and with `keep_people` those of annotators are left as they are; a machine's
    cue in an annotator's place is left out.
    """
    given = _given_labels(conversation)
    kept = [cue for cue in conversation.cues if cue.label in given]
    people = [cue for cue in conversation.cues if cue.label not in given and keep_people and _is_persons(cue)]
    bare = replace(conversation, cues=(), answers=(), labels_made=())
    new = label_cues(bare, settings, given, tracks)
    of_label = {each.label: each for each in with_reasons(bare, given).labels_made}
    of_label |= {each.label: each for each in conversation.labels_made if each.label == VISUAL}
    return replace(
        bare,
        cues=(*kept, *people, *(cue for cue in new if not _stands_for(people, cue))),
        labels_made=tuple(of_label.values()),
    )


def _given_labels(conversation: Conversation) -> frozenset[str]:
    """Labels that must not be made from turns and words: those of a file, and visual ones."""
    given = {entry.label for entry in conversation.labels_made if entry.made and entry.reason == TOLD}
    others = {c.label for c in conversation.cues if not _is_machines(c) and not _is_persons(c)}
    marked = told_labels(replace(conversation, cues=(), labels_made=()))
    return frozenset({VISUAL} | given | others | marked)


def _is_machines(cue: Cue) -> bool:
    """Whether one of this project's labelers made the cue."""
    return cue.origin.partition("/")[0] in MACHINES


def _is_persons(cue: Cue) -> bool:
    return cue.origin.startswith(HUMAN)


def _stands_for(people: Iterable[Cue], cue: Cue) -> bool:
    """Whether an annotator's cue of the same label and speaker covers half of the union of the two."""
    for other in people:
        if (other.label, other.speaker) == (cue.label, cue.speaker):
            common_us = min(other.stop_us, cue.stop_us) - max(other.start_us, cue.start_us)
            union_us = max(other.stop_us, cue.stop_us) - min(other.start_us, cue.start_us)
            if 2 * common_us >= union_us:
                return True
    return False
