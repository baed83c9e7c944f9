"""Words in annotation files whose times cannot all be right: kept as written, and reported."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

from corpus.schemas.conversation import Word
from corpus.schemas.drops import Drop

LONGEST_CHARACTERS = 60
"""German and Turkish words reach 40; what is longer is a sentence without spaces, a link or a mistake."""


def doubtful_words(words: Sequence[Word]) -> list[Drop]:
    """One Drop for each kind of doubt, with the number of words and an example."""
    drops = []
    for code, doubt, what in _DOUBTS:
        doubts = doubt(words)
        if doubts:
            starts = [word.start_us for word in doubts if word.start_us is not None]
            drops.append(
                Drop(
                    item="words",
                    stage="input",
                    kind="trim",
                    code=code,
                    reason=f"{what}, as {doubts[0].text[:40]!r} of {doubts[0].speaker}; kept as written",
                    start_us=min(starts, default=None),
                    stop_us=max((word.stop_us for word in doubts if word.stop_us is not None), default=None),
                    count=len(doubts),
                )
            )
    return drops


def _overlapping(words: Sequence[Word]) -> list[Word]:
    """Words that begin before an earlier one of the same speaker has ended."""
    overlapping: list[Word] = []
    by_speaker: dict[str, list[Word]] = {}
    for word in words:
        if word.start_us is not None and word.timing == "measured":
            by_speaker.setdefault(word.speaker, []).append(word)
    for spoken in by_speaker.values():
        spoken.sort(key=lambda word: (word.start_us or 0, word.stop_us or 0))
        reached_us = 0
        for before, word in pairwise(spoken):
            reached_us = max(reached_us, before.stop_us or 0)
            if (word.start_us or 0) < reached_us:
                overlapping.append(word)
    return overlapping


def _very_long(words: Sequence[Word]) -> list[Word]:
    return [word for word in words if len(word.text) > LONGEST_CHARACTERS]


_DOUBTS: tuple[tuple[str, Callable[[Sequence[Word]], list[Word]], str], ...] = (
    ("overlapping_words", _overlapping, "a word begins before the same speaker's word before it has ended"),
    ("very_long_words", _very_long, f"a word has over {LONGEST_CHARACTERS} characters"),
)
