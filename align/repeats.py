"""A recogniser's loops: the same few words repeated more often or faster than anybody speaks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from corpus.schemas.span import Span

T = TypeVar("T")

LONGEST_PHRASE_WORDS = 8
REPEATS = {1: 6}
"""Repeats that make a loop, by the number of words in the phrase; others need `REPEATS_OF_PHRASE`."""
REPEATS_OF_PHRASE = 4
FASTEST_WORD_US = 60_000
"""A loop whose words are shorter than this on average was not said even once."""


def without_loops(
    words: Sequence[T], text_of: Callable[[T], str], span_of: Callable[[T], Span]
) -> tuple[list[T], list[list[T]]]:
    """The words without their loops, and what was left out of each.

    The first time a loop's phrase is said it is kept, unless it is spoken too fast to be speech.
    """
    said = ["".join(c for c in text_of(word).lower() if c.isalnum()) for word in words]
    kept: list[T] = []
    loops: list[list[T]] = []
    place = 0
    while place < len(words):
        phrase, repeats = _loop_at(said, place)
        if not phrase:
            kept.append(words[place])
            place += 1
            continue
        loop = list(words[place : place + phrase * repeats])
        place += len(loop)
        while place < len(words) and said[place] == said[place - phrase]:
            loop.append(words[place])  # the loop may break off inside its phrase
            place += 1
        first = phrase if _is_speech(loop, span_of) else 0
        kept += loop[:first]
        loops.append(loop[first:])
    return kept, loops


def _loop_at(said: Sequence[str], place: int) -> tuple[int, int]:
    """(words in the phrase, number of times it is said from here on), or (0, 0)."""
    # Shortest first: a loop of one word is also one of two.
    for phrase in range(1, LONGEST_PHRASE_WORDS + 1):
        repeats = 1
        while _same(said, place, place + repeats * phrase, phrase):
            repeats += 1
        if repeats >= REPEATS.get(phrase, REPEATS_OF_PHRASE):
            return phrase, repeats
    return 0, 0


def _same(said: Sequence[str], left: int, right: int, count: int) -> bool:
    return right + count <= len(said) and said[left : left + count] == said[right : right + count]


def _is_speech(loop: Sequence[T], span_of: Callable[[T], Span]) -> bool:
    length_us = span_of(loop[-1]).stop_us - span_of(loop[0]).start_us
    return length_us >= FASTEST_WORD_US * len(loop)
