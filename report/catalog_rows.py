"""One built recording as rows of the catalog's tables, columns in the order of catalog.sql."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from corpus.report.transitions import transitions
from corpus.schemas.codec import to_plain
from corpus.schemas.conversation import Conversation
from corpus.schemas.recording import Oddity, Recording
from corpus.schemas.span import Span
from corpus.schemas.turn_taking import longest_monologue, speech_by_speaker, speech_us, states

Row = tuple[Any, ...]
Rows = Iterator[tuple[str, Iterable[Row]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogEntry:
    """One recording that was built."""

    recording: Recording
    conversation: Conversation
    split: str
    sidecars: tuple[str, ...]
    """Names of the annotation files that were used."""


def entry_rows(entry: CatalogEntry, *, bridge_us: int) -> Rows:
    """Pairs of a table's name and rows for it."""
    yield from _of_recording(entry.recording)
    yield from _of_conversation(entry.conversation)
    yield from _of_talk(entry, bridge_us)


def _of_recording(one: Recording) -> Rows:
    yield (
        "streams",
        (
            (
                *(one.hash, s.index, s.file, one.files[s.file].uri, s.kind, s.codec, s.rate, s.offset_us),
                *(s.duration_us, s.channels, s.width, s.height, s.rotation_degrees, s.chosen),
            )
            for s in one.streams
        ),
    )

    def odd(file: int | None, stream: int | None, oddities: Sequence[Oddity]) -> list[Row]:
        return [(one.hash, file, stream, o.code, o.detail, o.start_us, o.stop_us) for o in oddities]

    yield "oddities", odd(None, None, one.oddities)
    for stream in one.streams:
        yield "oddities", odd(stream.file, stream.index, stream.oddities)


def _of_conversation(talked: Conversation) -> Rows:
    one = talked.recording
    yield "turns", ((one, t.id, t.speaker, t.start_us, t.stop_us) for t in talked.turns)
    yield (
        "words",
        (
            (one, w.id, w.speaker, w.start_us, w.stop_us, w.text, w.after, w.timing, w.confidence)
            for w in talked.words
        ),
    )
    yield from label_rows(talked)
    yield (
        "events",
        (
            (one, e.id, e.label, e.kind, e.speaker, e.start_us, e.stop_us, e.origin, e.payload)
            for e in talked.events
        ),
    )


def label_rows(talked: Conversation) -> Rows:
    """Rows of what labelers say of a conversation."""
    one = talked.recording
    yield (
        "cues",
        (
            (
                *(one, c.id, c.label, c.kind, c.speaker, c.start_us, c.stop_us, c.confidence, c.origin),
                *(c.partner, c.thresholds, c.evidence, [to_plain(span) for span in c.spans]),
            )
            for c in talked.cues
        ),
    )
    yield (
        "answers",
        ((one, a.id, a.speaker, a.start_us, a.stop_us, a.action, a.why, a.to) for a in talked.answers),
    )
    yield "labels_made", ((one, m.label, m.made, m.reason) for m in talked.labels_made)


def _of_talk(entry: CatalogEntry, bridge_us: int) -> Rows:
    one, talked = entry.recording, entry.conversation
    spans = speech_by_speaker(talked)
    yield (
        "recordings",
        [
            (
                *(one.hash, one.uri, entry.split, one.duration_us, one.licence, one.consent),
                *(one.conversation, len(one.files), sum(file.bytes for file in one.files)),
                list(entry.sidecars),
                *speech_us(states(spans)),
                *monologue(talked, bridge_us),
            )
        ],
    )
    named = {*one.speakers, *talked.named_speakers}
    said = dict.fromkeys(talked.speakers, 0)
    for word in talked.words:
        said[word.speaker] += 1
    yield (
        "speakers",
        (
            (one.hash, name, channel, name in named, _total_us(spans.get(name, ())), said[name])
            for channel, name in enumerate(talked.speakers)
        ),
    )
    yield from floor_rows(talked, bridge_us)


def floor_rows(talked: Conversation, bridge_us: int) -> Rows:
    """Rows of units, and of what lies between them."""
    one = talked.recording
    units = speech_by_speaker(talked, bridge_us=bridge_us)
    yield "units", ((one, n, u.start_us, u.stop_us) for n, of_speaker in units.items() for u in of_speaker)
    yield (
        "transitions",
        (
            (one, t.kind, t.from_speaker, t.to_speaker, t.start_us, t.stop_us, t.offset_us)
            for t in transitions(states(units))
        ),
    )


def monologue(talked: Conversation, bridge_us: int) -> Row:
    """Speaker, begin and end of the longest stretch in which nobody else talks; None three times without."""
    longest = longest_monologue(states(speech_by_speaker(talked, bridge_us=bridge_us)))
    return (longest.speaker, longest.start_us, longest.stop_us) if longest else (None, None, None)


def _total_us(spans: Iterable[Span]) -> int:
    return sum(span.duration_us for span in spans)
