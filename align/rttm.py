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
from corpus.schemas.conversation import Turn
from corpus.schemas.drops import Drop

OTHER_TYPES = frozenset(
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
    """The turns in order of start, and a Drop for every line that gives none or only a part."""
    lines, drops = read_lines(path)
    speaker_lines: list[tuple[str, Line]] = []
    for line in lines:
        fields = line.text.split()
        if fields[0] == "SPEAKER":
            speaker_lines.append((fields[1] if len(fields) > 1 else "", line))
        elif fields[0] not in OTHER_TYPES:
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
    fields = line.text.split()
    if len(fields) not in (9, 10):
        raise LineError("wrong_fields", f"a SPEAKER line has 9 or 10 fields, this one {len(fields)}")
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
    return Turn(speaker=fields[7], start_us=inside.start_us, stop_us=inside.stop_us)
