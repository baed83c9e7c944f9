"""CTM: one `file channel start duration word [confidence]` line per word, in seconds.

The format has no speaker. Two habits give one: the first column holds `NAME_SEGMENT_…`, or each
speaker has a channel. Otherwise the speaker stays "", for the turns to say.
"""

from __future__ import annotations

import re
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
    split_punctuation,
)
from corpus.schemas.conversation import Word
from corpus.schemas.drops import Drop

_NAMED = re.compile(r"([^_]+)_\d+(_.*)?")
NO_NAME = "<NA>"


def read_ctm(path: Path, duration_us: int) -> tuple[tuple[Word, ...], list[Drop]]:
    """The words in order of start; the speaker is "" where the file does not tell."""
    lines, drops = read_lines(path)
    rows = [(line.text.split(), line) for line in lines]
    stem = path.name.removesuffix(path.suffix)
    own = {stem, Path(stem).stem}
    ids = {fields[0] for fields, _ in rows}
    named = bool(ids - own) and all(_NAMED.fullmatch(name) for name in ids - own)
    kept = lines
    if not named:
        kept, others = of_recording(((fields[0], line) for fields, line in rows), path)
        drops += others
    channels = {line.text.split()[1] for line in kept if len(line.text.split()) > 1}
    words: list[Word] = []
    for line in kept:
        try:
            words.append(_word(line, duration_us, named, len(channels) > 1, drops))
        except LineError as error:
            drops.append(line.drop(error.code, str(error)))
    words.sort(key=lambda word: word.start_us or 0)
    return tuple(words), drops


def _word(line: Line, duration_us: int, named: bool, by_channel: bool, drops: list[Drop]) -> Word:
    fields = line.text.split()
    if len(fields) not in (5, 6):
        raise LineError("wrong_fields", f"a word has 5 or 6 fields, this line {len(fields)}")
    start_us = seconds(fields[2], "the start")
    whole = sound_span(start_us, start_us + seconds(fields[3], "the duration"))
    inside = clip(whole, duration_us)
    if inside != whole:
        drops.append(clipped_drop(line.place, whole, duration_us))
    text, after = split_punctuation(fields[4])
    return Word(
        speaker=_speaker(fields, named, by_channel),
        start_us=inside.start_us,
        stop_us=inside.stop_us,
        text=text,
        after=after,
        confidence=_confidence(fields[5]) if len(fields) == 6 else None,
    )


def _speaker(fields: list[str], named: bool, by_channel: bool) -> str:
    found = _NAMED.fullmatch(fields[0]) if named else None
    if found:
        return "" if found.group(1) == NO_NAME else found.group(1)
    return fields[1] if by_channel else ""


def _confidence(text: str) -> float | None:
    """A probability, or None: `NA` and -1 say that there is none."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0.0 <= value <= 1.0 else None
