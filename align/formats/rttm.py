"""RTTM: one `SPEAKER file channel start duration <NA> <NA> name <NA> <NA>` line per turn, in seconds."""

from __future__ import annotations

from pathlib import Path

from corpus.align.parsing import (
    Line,
    LineError,
    clip,
    clipped_drop,
    of_recording,
    read_lines,
    seconds,
    sound_span,
)
from corpus.align.values import speaker_name
from corpus.schemas.conversation import Turn
from corpus.schemas.drops import Drop

_OTHER_TYPES = frozenset(
    [
        "SEGMENT",
        "NOSCORE",
        "NO_RT_METADATA",
        "LEXEME",
        "NON-LEX",
        "NON-SPEECH",
        "FILLER",
        "EDIT",
        "SU",
        "IP",
        "CB",
        "A/P",
        "SPKR-INFO",
    ]
)
"""Line types of the format that say nothing of who speaks when."""


def read_rttm(path: Path, duration_us: int) -> tuple[tuple[Turn, ...], list[Drop]]:
    """The turns in order of start, and a Drop for every line that gives no turn or only part of one."""
    lines, drops = read_lines(path)
    speaker_lines: list[tuple[str, Line]] = []
    for line in lines:
        fields = line.text.split()
        if fields[0] == "SPEAKER":
            speaker_lines.append((_columns(fields)[1] if len(fields) > 1 else "", line))
        elif fields[0] not in _OTHER_TYPES:
            drops.append(line.drop("not_rttm", f"the line begins with {fields[0][:20]!r}, not with SPEAKER"))
    kept, others = of_recording(speaker_lines, path)
    drops += others
    turns: list[Turn] = []
    for line in kept:
        try:
            turns.append(_turn(line, duration_us, drops))
        except LineError as error:
            drops.append(line.drop(error.code, str(error)))
    return tuple(sorted(turns, key=lambda turn: (turn.start_us, turn.stop_us, turn.speaker))), drops


def _turn(line: Line, duration_us: int, drops: list[Drop]) -> Turn:
    fields = _columns(line.text.split())
    if len(fields) not in (8, 9, 10):
        raise LineError("wrong_fields", f"a SPEAKER line has 8 to 10 fields, this one {len(fields)}")
    start_us = seconds(fields[3], "the start")
    length_us = seconds(fields[4], "the duration")
    if fields[7] == "<NA>":
        raise LineError("unknown_speaker", "the line names no speaker")
    if length_us == 0:
        raise LineError("empty_turn", "the turn lasts 0 s")
    whole = sound_span(start_us, start_us + length_us)
    inside = clip(whole, duration_us)
    if inside != whole:
        drops.append(clipped_drop(line.place, whole, duration_us))
    return Turn(speaker=speaker_name(fields[7]), start_us=inside.start_us, stop_us=inside.stop_us)


def _columns(fields: list[str]) -> list[str]:
    """The ten columns of a line in which the file or the speaker has a name with spaces.

    Start and duration are the first two numbers side by side behind the channel; the last two columns are
    `<NA>` or numbers.
    """
    if len(fields) <= 10:
        return fields
    numbers = [_number(text) for text in fields]
    start = next(
        (i for i in range(3, len(fields) - 4) if numbers[i] and numbers[i + 1] and not numbers[i + 2]), None
    )
    if start is None:
        return fields
    end = len(fields)
    while end > start + 5 and end > len(fields) - 2 and (fields[end - 1] == "<NA>" or numbers[end - 1]):
        end -= 1
    name = " ".join(fields[start + 4 : end])
    return [
        fields[0],
        " ".join(fields[1 : start - 1]),
        *fields[start - 1 : start + 4],
        name,
        *fields[end:],
    ]


def _number(text: str) -> bool:
    try:
        seconds(text, "")
    except LineError:
        return False
    return True
