"""What the annotation files beside a recording say about it."""

from __future__ import annotations

from dataclasses import dataclass

from corpus.schemas.conversation import Cue, Event, LabelMade, Turn, Word


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotation:
    """None means that no file says anything about it, so that a model may; empty means there is none."""

    turns: tuple[Turn, ...] | None = None
    words: tuple[Word, ...] | None = None
    """A word whose speaker no file and no turn gives has the speaker "": `attribute.attribute_words`
    gives it one as soon as turns are known."""
    cues: tuple[Cue, ...] = ()
    events: tuple[Event, ...] = ()
    labels_made: tuple[LabelMade, ...] = ()
    """Labels the files speak of: no machine makes these for the recording."""
    speakers: tuple[str, ...] = ()
    """All names the files use, as the conversation file lists them, else in order of first speech.
    They are local to the recording: the same name beside another one may be somebody else."""
    named_speakers: tuple[str, ...] = ()
    """Those a conversation file vouches for as people known beyond this recording."""
    used: tuple[str, ...] = ()
    """Names of the files that something was taken from, without their folders."""
