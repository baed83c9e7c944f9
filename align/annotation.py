"""What the annotation files beside a recording say about it."""

from __future__ import annotations

from dataclasses import dataclass

from corpus.schemas.conversation import Cue, Event, LabelMade, Turn, Word


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotation:
    """In each field, None means that no file covers it, so a model may; empty means that there is none."""

    turns: tuple[Turn, ...] | None = None
    words: tuple[Word, ...] | None = None
    """A word whose speaker no file and no turn gives has the speaker "": `attribute.attribute_words`
    gives it one as soon as turns are known."""
    cues: tuple[Cue, ...] = ()
    events: tuple[Event, ...] = ()
    labels_made: tuple[LabelMade, ...] = ()
    """Labels covered by the files: the machine does not make these for the recording."""
    speakers: tuple[str, ...] = ()
    """All names in the files, in the conversation file's order, otherwise in order of first speech. They are
    local to the recording: the same name in another may be somebody else."""
    named_speakers: tuple[str, ...] = ()
    """Those that a conversation file declares as people known beyond this recording."""
    used: tuple[str, ...] = ()
    """Names, without folders, of the files that were used."""
