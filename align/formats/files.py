"""Annotation files as conversations; files with the same base name belong together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from corpus.align.annotation import Annotation
from corpus.align.conversation_json import conversation_of, parse_json
from corpus.align.formats.outgoing import left_out
from corpus.align.sidecar_files import ENDINGS
from corpus.align.sidecars import read_sidecars
from corpus.schemas.conversation import Conversation, Event
from corpus.schemas.drops import Drop
from corpus.schemas.errors import CorpusError, UsageError

_LONGEST_US = 10**12
"""Longer than any recording; what a file is read with where nobody says how long its recording is."""
_NOBODY = "unknown"
"""Who speaks where the files do not say."""


def conversations_of(inputs: Sequence[Path]) -> Iterator[tuple[Conversation, list[Drop]]]:
    """The conversation for each base name, with Drops for what was not used from its files.

    Raises:
        UsageError: an input is missing or not an annotation file, or a folder contains none.
    """
    groups: dict[str, list[Path]] = {}
    for path in inputs:
        inside = sorted(path.iterdir()) if path.is_dir() else [path]
        kept = [each for each in inside if _ending(each.name)]
        if not kept or not all(each.is_file() for each in kept):
            what = "contains no annotation file" if path.is_dir() else "is not an annotation file"
            raise UsageError(what, where=str(path), todo=f"files end in {', '.join(ENDINGS)}")
        for each in kept:
            groups.setdefault(each.name[: -len(_ending(each.name))], []).append(each)
    for name, paths in sorted(groups.items()):
        told_us = _told_us(paths)
        annotation, drops = read_sidecars(paths, told_us or _LONGEST_US)
        talk, more = _conversation(name, annotation, told_us)
        yield talk, [*drops, *more]


def _ending(name: str) -> str:
    """The longest known ending of a file's name, "" if it has none."""
    known = (ending for ending in ENDINGS if name.lower().endswith(ending.lower()))
    return max(known, key=len, default="")


def _told_us(paths: Sequence[Path]) -> int:
    """How long the recording is, where a conversation file says it; else 0."""
    for path in paths:
        if _ending(path.name) in (".json", ".json.gz"):
            try:
                duration_us = (conversation_of(parse_json(path, _LONGEST_US), path) or {}).get("duration_us")
            except CorpusError:  # told when the file was read
                continue
            if isinstance(duration_us, int) and 0 < duration_us <= _LONGEST_US:
                return duration_us
    return 0


def _conversation(name: str, found: Annotation, told_us: int) -> tuple[Conversation, list[Drop]]:
    """The annotation with a length, and names for speakers without one."""
    turns, words = found.turns or (), found.words or ()
    unnamed = sum(not word.speaker for word in words)
    words = tuple(word if word.speaker else replace(word, speaker=_NOBODY) for word in words)
    speakers = dict.fromkeys((*found.speakers, *(word.speaker for word in words)))
    spans = [turn.span for turn in turns] + [cue.span for cue in found.cues]
    ends = [span.stop_us for span in (*spans, *(word.span for word in words)) if span is not None]
    starts = [event.start_us for event in found.events]
    stops = [event.stop_us for event in found.events if event.stop_us < _LONGEST_US]
    length_us = told_us or max([*ends, *starts, *stops], default=0)
    talk = Conversation(
        recording=name,
        duration_us=length_us,
        speakers=tuple(speakers),
        turns=turns,
        words=words,
        cues=found.cues,
        events=_within(found.events, length_us),
        labels_made=found.labels_made,
        named_speakers=found.named_speakers,
    )
    reason = f"words are without a speaker, who is called {_NOBODY!r}"
    return talk, left_out(talk, "word_without_speaker", reason, unnamed)


def _within(events: tuple[Event, ...], length_us: int) -> tuple[Event, ...]:
    """Events up to the end; one that only reaches from there to the end of time says nothing."""
    kept = (event for event in events if event.start_us < length_us or event.stop_us < _LONGEST_US)
    return tuple(replace(event, stop_us=min(event.stop_us, length_us)) for event in kept)
