"""Helpers of the line-based importers: numbers, spans, punctuation, and Drops that name file and line."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from corpus.schemas.clock import us_from_seconds
from corpus.schemas.drops import Drop, DropKind
from corpus.schemas.errors import SidecarError
from corpus.schemas.span import Span

STAGE: Final = "input"
LONGEST_FILE_BYTES = 1 << 29
SHOWN_PER_REASON = 10
"""This many Drops of one file and reason are listed; the rest are counted in one more."""

# Bounded lengths: a crafted number must not become an integer of a million digits.
_SECONDS = re.compile(r"[+-]?(\d{1,12}(\.\d{0,18})?|\.\d{1,18})([eE][+-]?\d)?")
_TRAILING = re.compile(r"(?<=[^\s.,?!;:…])[.,?!;:…]+$")


class LineError(ValueError):
    """Why a line or an item is not used: a code for counting and a reason for people."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code


@dataclass(frozen=True, slots=True)
class Line:
    """One line of an annotation file."""

    file: str
    number: int
    text: str

    @property
    def place(self) -> str:
        return f"{self.file}:{self.number}"

    def drop(self, code: str, reason: str, kind: DropKind = "fault", span: Span | None = None) -> Drop:
        return drop_at(self.place, code, reason, kind, span)


def drop_at(place: str, code: str, reason: str, kind: DropKind = "fault", span: Span | None = None) -> Drop:
    return Drop(
        item=place,
        stage=STAGE,
        kind=kind,
        code=code,
        reason=f"{place}: {reason}",
        start_us=span.start_us if span else None,
        stop_us=span.stop_us if span else None,
    )


def read_bytes(path: Path) -> bytes:
    """The file's bytes.

    Raises:
        SidecarError: the file cannot be read, or is larger than 512 MiB.
    """
    if path.exists() and not path.is_file():
        raise SidecarError("is not a file", where=path.name)
    try:
        with path.open("rb") as file:
            data = file.read(LONGEST_FILE_BYTES + 1)
    except OSError as error:
        raise SidecarError(f"cannot be read: {error.strerror}", where=path.name) from error
    if len(data) > LONGEST_FILE_BYTES:
        raise SidecarError("is larger than 512 MiB, which no annotation file is", where=path.name)
    return data


def read_lines(path: Path) -> tuple[list[Line], list[Drop]]:
    """The lines with content, without blank lines and comments. A line that is not UTF-8 becomes a Drop."""
    lines: list[Line] = []
    drops: list[Drop] = []
    for number, raw in enumerate(read_bytes(path).removeprefix(b"\xef\xbb\xbf").splitlines(), 1):
        try:
            line = Line(path.name, number, raw.decode())
        except UnicodeDecodeError:
            place = f"{path.name}:{number}"
            drops.append(drop_at(place, "not_utf8", "the line is not UTF-8; save the file as UTF-8"))
            continue
        if line.text.strip() and not line.text.lstrip().startswith((";", "#")):
            lines.append(line)
    return lines, drops


def seconds(text: str, name: str) -> int:
    """Microseconds of a decimal number of seconds, rounded half up."""
    if not _SECONDS.fullmatch(text):
        raise LineError("not_a_number", f"{name} {text!r} is not a number of seconds")
    return us_from_seconds(text)


def sound_span(start_us: int, stop_us: int) -> Span:
    """The span; raises LineError if it is negative or backwards."""
    if start_us < 0:
        raise LineError("negative_time", f"starts at {start_us / 1e6:.3f} s, before the recording")
    if stop_us < start_us:
        raise LineError("unordered_times", f"ends at {stop_us / 1e6:.3f} s, before its start")
    return Span(start_us, stop_us)


def clip(span: Span, duration_us: int) -> Span:
    """The part of the span inside the recording; nothing inside is an error."""
    if span.start_us >= duration_us:
        raise LineError(
            "past_the_end",
            f"starts at {span.start_us / 1e6:.3f} s, the recording ends at {duration_us / 1e6:.3f} s",
        )
    return Span(span.start_us, min(span.stop_us, duration_us))


def clipped_drop(place: str, span: Span, duration_us: int) -> Drop:
    """The Drop for an item that is cut at the recording's end."""
    reason = f"runs past the end of the recording at {duration_us / 1e6:.3f} s and is cut there"
    return drop_at(place, "clipped_at_end", reason, "trim", Span(duration_us, span.stop_us))


def split_punctuation(raw: str) -> tuple[str, str]:
    """A written word as text and the punctuation after it: `Hello?` is `Hello` and `?`."""
    match = _TRAILING.search(raw)
    return (raw[: match.start()], match.group()) if match else (raw, "")


def of_recording(lines: Iterable[tuple[str, Line]], path: Path) -> tuple[list[Line], list[Drop]]:
    """Lines whose file id is the sidecar's own, if the file holds several recordings."""
    numbered = list(lines)
    ids = {name for name, _ in numbered}
    if len(ids) < 2:
        return [line for _, line in numbered], []
    stem = path.name.removesuffix(path.suffix)
    own = {stem, Path(stem).stem}
    kept = [line for name, line in numbered if name in own]
    others = len(numbered) - len(kept)
    reason = f"{others} lines are of other recordings than {stem} (the file names {len(ids)})"
    code = "other_recording"
    drop = replace(drop_at(path.name, code, reason, "trim" if kept else "fault"), count=others)
    return kept, [drop] if others else []


def summarise(drops: Iterable[Drop]) -> list[Drop]:
    """The same Drops, with repetitions in one file listed ten times and then counted."""
    return list(_summarised(list(drops)))


def _summarised(drops: list[Drop]) -> Iterator[Drop]:
    counts: Counter[tuple[str, str]] = Counter()
    counted: Counter[tuple[str, str]] = Counter()
    first: dict[tuple[str, str], Drop] = {}
    for drop in drops:
        file = drop.item.rpartition(":")[0] or drop.item
        key = (file, drop.code)
        counts[key] += 1
        if counts[key] <= SHOWN_PER_REASON:
            yield drop
        else:
            counted[key] += drop.count
            first.setdefault(key, drop)
    for (file, _), count in counted.items():
        drop = first[(file, _)]
        yield replace(
            drop,
            item=file,
            reason=f"{file}: {count} more like {drop.reason}",
            start_us=None,
            stop_us=None,
            count=count,
        )
