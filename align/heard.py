"""Words as returned by a recogniser, before they have speakers."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from corpus.schemas.drops import Drop
from corpus.schemas.span import Span

SHOWN_CHARACTERS = 80
WITHOUT_SPACES = frozenset(("zh", "ja", "th", "lo", "my", "yue"))
"""Languages written without spaces between words: what the recogniser gives apart stays apart."""


@dataclass(frozen=True, slots=True)
class Heard:
    """A recognised word on the recording's clock."""

    span: Span
    written: str
    probability: float
    window: Span | None = None
    """What the network saw at once; None if unknown."""
    aligned: bool = False
    """The span is the sound's, found by an aligner, and not the recogniser's guess."""


@dataclass(frozen=True, slots=True)
class Window:
    """What a network made of the up to 30 s that it saw at once."""

    span: Span
    words: tuple[Heard, ...]
    """As the network writes them, with their leading spaces."""
    languages: tuple[tuple[str, float], ...] = ()
    """The likeliest with their probabilities, whatever was asked for; empty of a network of one language."""
    compression_ratio: float = 1.0
    """How much shorter gzip makes the text."""
    log_probability: float = 0.0
    """The mean of a token's."""
    doubtful: bool = False
    """It has its languages from the window before it, which holds no likely text."""


def joined_tokens(words: Iterable[Heard], language: str) -> list[Heard]:
    """The words with what was written without a space between as one: "twenty" "-five", "3" ".5".

    A written word keeps its leading space until here; it is gone afterwards. Words of nothing but
    space are left out. The probability is the least of the parts.
    """
    joined: list[Heard] = []
    for word in words:
        text = word.written.strip()
        if not text:
            continue
        apart = language in WITHOUT_SPACES or word.written[:1].isspace() or not joined
        if apart or word.window != joined[-1].window:
            joined.append(replace(word, written=text))
            continue
        last = joined[-1]
        joined[-1] = Heard(
            Span(last.span.start_us, max(last.span.stop_us, word.span.stop_us)),
            last.written + text,
            min(last.probability, word.probability),
            last.window,
        )
    return joined


def with_length(words: Sequence[Heard], least_us: int) -> list[Heard]:
    """The words, in order; one shorter than `least_us` takes what it lacks from the word before it."""
    long = list(words)
    for place, (before, word) in enumerate(pairwise(words), 1):
        if word.span.duration_us < least_us and word.span.stop_us - least_us > before.span.start_us:
            start_us = word.span.stop_us - least_us
            stop_us = min(before.span.stop_us, start_us)
            long[place - 1] = replace(long[place - 1], span=Span(before.span.start_us, stop_us))
            long[place] = replace(word, span=Span(start_us, word.span.stop_us))
    return long


def plain(text: str) -> str:
    """What of a word is compared: its letters and digits, in lower case."""
    return "".join(c for c in unicodedata.normalize("NFKC", text).casefold() if c.isalnum())


def written(words: Sequence[Heard]) -> str:
    """The words as a text; no space where the recogniser writes none."""
    return " ".join(word.written for word in words)


def _shown(text: str) -> str:
    """The text in quotes for a Drop's reason, cut where it is long."""
    return repr(text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 3] + "...")


def runs(words: Sequence[Heard], left_out: Sequence[bool]) -> list[list[Heard]]:
    """The words that are left out, grouped if they follow one another."""
    stretches: list[list[Heard]] = []
    places = [place for place, out in enumerate(left_out) if out]
    for before, place in pairwise([-2, *places]):
        if place != before + 1:
            stretches.append([])
        stretches[-1].append(words[place])
    return stretches


def words_drop(code: str, reason: str, words: Sequence[Heard]) -> Drop:
    """The Drop for recognised words that are left out; the reason follows their text."""
    return Drop(
        item="words",
        stage="transcribe",
        kind="trim",
        code=code,
        reason=f"{_shown(written(words))} {reason}",
        start_us=min(word.span.start_us for word in words),
        stop_us=max(word.span.stop_us for word in words),
        count=len(words),
    )
