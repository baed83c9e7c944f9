"""Praat's TextGrid, long and short: tiers of intervals with labels.

Like Praat this reads free-standing numbers and quoted texts, whatever is between them, so that one reader
serves both forms; praatio ends silently at the first bad entry and turns -0.5 into 0.5. A tier is a speaker
and its labels are utterances; a tier `NAME - words` (as the Montreal aligner writes) or `words` holds words
at their own times.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from corpus.align.annotation import Annotation
from corpus.align.formats.gather import Gathered, has_words, is_word
from corpus.align.formats.text import read_text
from corpus.align.parsing import LineError, seconds
from corpus.schemas.drops import Drop
from corpus.schemas.errors import SidecarError

_TOKEN = re.compile(r'"([^"]*(?:""[^"]*)*)"|<[^>\s]*>|!.*|([^\s"]+)')
_NUMBER = re.compile(r"[+-]?[\d.][^\s%\]:]*")
_CLASSES = {"IntervalTier": True, "TextTier": False}
_WORDS = re.compile(r"(?:words?|ort)\Z", re.IGNORECASE)
_NO_WORDS = re.compile(r"(?:.*[\s_/:.-])?(?:phones?|phonemes?|phn|syllables?|segments?|mau|kan)", re.I | re.S)
WORD_TIER = " - words"
_FEWEST = 3
"""A tier with fewer one-word labels than this is not taken for a tier of words."""


@dataclass(slots=True)
class _Tier:
    name: str
    place: str
    intervals: bool
    entries: list[tuple[str, list[str], str]] = field(default_factory=list)
    """Place, numbers, label."""


def read_textgrid(path: Path, duration_us: int) -> tuple[Annotation, list[Drop]]:
    """Turns and words of all interval tiers; the content of other tiers is reported."""
    text = read_text(path)
    if "TextGrid" not in text[:200]:
        raise SidecarError("is not a TextGrid", where=path.name)
    read = Gathered(path.name, duration_us)
    tiers = list(_tiers(text, read))
    timed = any(_words_of(tier.name) is not None for tier in tiers if tier.intervals)
    for tier in sorted(tiers, key=lambda tier: _words_of(tier.name) is None):
        starts = read.word_starts() if timed else {}
        if not tier.intervals:
            labels = sum(bool(label.strip()) for _, _, label in tier.entries)
            read.tell(
                tier.place, "tier_unused", f"tier {tier.name!r} holds {labels} points, which are not read"
            )
        elif _NO_WORDS.fullmatch(tier.name):
            read.tell(
                tier.place, "tier_unused", f"tier {tier.name!r} holds parts of words, which are not read"
            )
        else:
            _take(tier, read, timed, starts)
    return read.annotation(), read.drops


def _words_of(name: str) -> str | None:
    """Whose words a tier of this name holds, "" for everybody's; None where it is no tier of words."""
    match = _WORDS.search(name)
    if match is None:
        return None
    before = name[: match.start()].rstrip()
    if not before:
        return "" if not match.start() else None
    return before[:-1].strip() if before[-1] in "-_/:." else None


def _tiers(text: str, read: Gathered) -> Iterator[_Tier]:
    """A class and a name open a tier, followed by three numbers; then numbers and a label make an entry."""
    ends = [match.start() for match in re.finditer("\n", text)]
    tier: _Tier | None = None
    numbers: list[str] = []
    opening: bool | None = None
    head = 0
    for token in _TOKEN.finditer(text):
        label, bare = token.groups()
        if label is None:
            if bare is not None and _NUMBER.fullmatch(bare):
                head, numbers = (head - 1, numbers) if head else (0, [*numbers[-3:], bare])
            continue
        label = label.replace('""', '"')
        place = f"{read.file}:{bisect_right(ends, token.start()) + 1}"
        if opening is not None:
            tier, opening, head = _Tier(label.strip(), place, opening), None, 3
        elif label in _CLASSES and (tier is None or not numbers):
            if tier:
                yield tier
            opening = _CLASSES[label]
        elif tier:
            tier.entries.append((place, numbers, label))
        numbers = [] if tier or opening is not None else numbers
    if tier:
        yield tier


def _take(tier: _Tier, read: Gathered, timed: bool, starts: dict[str, list[int]]) -> None:
    """Read a tier's words or utterances; an utterance with words in another tier takes its text from them."""
    named = _words_of(tier.name)
    labels = [label for _, _, label in tier.entries if label.strip()]
    as_words = named is not None or (
        not timed and len(labels) >= _FEWEST and all(is_word(label) for label in labels)
    )
    speaker = tier.name if named is None else named
    for place, numbers, label in tier.entries:
        with read.item(place):
            if len(numbers) != 2:
                raise LineError("malformed", f"an interval has 2 times, this one {len(numbers)}")
            start_us, stop_us = seconds(numbers[0], "xmin"), seconds(numbers[1], "xmax")
            if not label.strip():
                continue
            if as_words:
                read.word(place, speaker, start_us, stop_us, label)
            elif not speaker:
                raise LineError("unknown_speaker", "the tier has no name")
            else:
                said = "" if has_words(starts, speaker, start_us, stop_us) else label
                read.utterance(place, speaker, start_us, stop_us, said)


def is_plain_tier(name: str) -> bool:
    """True for a name that a tier of somebody's utterances may have."""
    return _words_of(name) is None and not _NO_WORDS.fullmatch(name)
