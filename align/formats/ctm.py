"""CTM: one `file channel start duration word [confidence [type [speaker]]]` line per word, in seconds.

The eighth column names the speaker. Without it two conventions give one: the first column holds
`NAME_SEGMENT_…` with several names, or each speaker has a channel. Otherwise the speaker stays "" until turns
decide. Of alternatives (`<ALT_BEGIN>`) the first is read.
"""

from __future__ import annotations

import re
from pathlib import Path

from corpus.align.marks import spoken
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
from corpus.align.values import speaker_name
from corpus.schemas.conversation import Word
from corpus.schemas.drops import Drop

_NAMED = re.compile(r"([^_]+)_\d+(_.*)?")
NO_NAME = "<NA>"
_ALTERNATIVES = frozenset(("<ALT_BEGIN>", "<ALT>", "<ALT_END>"))
_NOT_WORDS = frozenset(("non-lex", "misc", "noscore", "non-speech"))
"""Types of lines that hold no word."""


def read_ctm(path: Path, duration_us: int) -> tuple[tuple[Word, ...], list[Drop]]:
    """The words in order of start; the speaker is "" if the file does not give one."""
    lines, drops = read_lines(path)
    rows = [(line.text.split(), line) for line in lines]
    stem = path.name.removesuffix(path.suffix)
    own = {stem, Path(stem).stem}
    ids = {fields[0] for fields, _ in rows}
    named = not ids & own and len(_names(ids)) > 1
    kept = lines
    if not named:
        kept, others = of_recording(((fields[0], line) for fields, line in rows), path)
        drops += others
    channels = {line.text.split()[1] for line in kept if len(line.text.split()) > 1}
    words: list[Word] = []
    alternative = 0
    for line in kept:
        mark = line.text.split()[4:5]
        if mark and mark[0].upper() in _ALTERNATIVES:
            alternative = {"<ALT_BEGIN>": 1, "<ALT>": alternative + 1, "<ALT_END>": 0}[mark[0].upper()]
        elif alternative > 1:
            drops.append(line.drop("alternative", "another reading of the words before it", "trim"))
        else:
            try:
                words.append(_word(line, duration_us, named, len(channels) > 1, drops))
            except LineError as error:
                drops.append(
                    line.drop(error.code, str(error), "trim" if error.code == "no_word" else "fault")
                )
    words.sort(key=lambda word: word.start_us or 0)
    return tuple(words), drops


def _names(ids: set[str]) -> set[str]:
    """The names before the numbers of all ids; empty where an id has none, so that ids are recordings."""
    matches = [_NAMED.fullmatch(name) for name in ids]
    return {match.group(1) for match in matches if match} if all(matches) else set()


def _word(line: Line, duration_us: int, named: bool, by_channel: bool, drops: list[Drop]) -> Word:
    fields = line.text.split()
    if not 5 <= len(fields) <= 8:
        raise LineError("wrong_fields", f"a word has 5 to 8 fields, this line {len(fields)}")
    written = spoken(fields[4])
    if written is None or (len(fields) > 6 and fields[6].lower() in _NOT_WORDS):
        raise LineError("no_word", f"{fields[4][:40]!r} is a sound or a mark, not a word")
    start_us = seconds(fields[2], "the start")
    whole = sound_span(start_us, start_us + seconds(fields[3], "the duration"))
    inside = clip(whole, duration_us)
    if inside != whole:
        drops.append(clipped_drop(line.place, whole, duration_us))
    text, after = split_punctuation(written)
    return Word(
        speaker=_speaker(fields, named, by_channel),
        start_us=inside.start_us,
        stop_us=inside.stop_us,
        text=text,
        after=after,
        confidence=_confidence(fields[5]) if len(fields) > 5 else None,
    )


def _speaker(fields: list[str], named: bool, by_channel: bool) -> str:
    if len(fields) == 8 and fields[7] not in (NO_NAME, "unknown"):
        return speaker_name(fields[7])
    match = _NAMED.fullmatch(fields[0]) if named else None
    if match:
        return "" if match.group(1) == NO_NAME else match.group(1)
    return fields[1] if by_channel else ""


def _confidence(text: str) -> float | None:
    """A probability, or None: `NA` and -1 say that there is none."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0.0 <= value <= 1.0 else None
