"""UEM: one `file channel start stop` line per stretch that was annotated, in seconds.

Everything outside becomes `unscored` events, as in a conversation file.
"""

from __future__ import annotations

from pathlib import Path

from corpus.align.annotation import Annotation
from corpus.align.formats.gather import Gathered
from corpus.align.parsing import LineError, of_recording, read_lines, seconds
from corpus.schemas.conversation import Event
from corpus.schemas.drops import Drop
from corpus.schemas.span import Span, subtract, union


def read_uem(path: Path, duration_us: int) -> tuple[Annotation, list[Drop]]:
    """Events for stretches nobody annotated; none without a valid line."""
    lines, drops = read_lines(path)
    kept, others = of_recording(((line.text.split()[0], line) for line in lines), path)
    read = Gathered(path.name, duration_us, drops=[*drops, *others])
    regions: list[Span] = []
    for line in kept:
        with read.item(line.place):
            fields = line.text.split()
            if len(fields) != 4:
                raise LineError("wrong_fields", f"a line has 4 fields, this one {len(fields)}")
            start_us, stop_us = seconds(fields[2], "the start"), seconds(fields[3], "the end")
            regions.append(read.inside(line.place, start_us, stop_us))
    for hole in subtract([Span(0, duration_us)], regions) if regions else ():
        read.events.append(_unscored(hole, path.name))
    if not regions and not read.drops:
        read.tell(path.name, "sidecar_unused", "the file is not used: it holds no line")
    return read.annotation(), read.drops


def _unscored(hole: Span, origin: str) -> Event:
    times = (hole.start_us, hole.stop_us)
    return Event(
        label="unscored", kind="uem", speaker=None, start_us=times[0], stop_us=times[1], origin=origin
    )


def annotated(events: tuple[Event, ...], duration_us: int) -> list[Span]:
    """The stretches that somebody annotated: all but the `unscored` events."""
    open_stretches = union(event.span for event in events if event.label == "unscored")
    return subtract([Span(0, duration_us)], open_stretches)
