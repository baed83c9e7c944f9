"""Which language is spoken, and where it is not the requested one.

A multilingual recogniser transcribes any sound in the language it is given: Russian speech becomes fluent
English that nobody said.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from corpus.align.heard import Heard, Window, joined_tokens, words_drop
from corpus.schemas.drops import Drop
from corpus.schemas.span import Span, union

AUTO = "auto"
PIECE_US = 30_000_000
MOST_PIECES = 6
"""Pieces of talk, spread over the recording, that decide its language."""
CLEAR = 0.65
"""A language this probable is taken."""
POSSIBLE = 0.35
"""A language between this and `CLEAR` is taken, but its text must look like speech; below it there is no
language. The same applies to a single window that is less sure than `CLEAR` to be in the detected or
configured language."""
FOREIGN = 0.1
"""A window in which the configured language is less probable than this is in another one. In the developer
meetings, whose speakers are mostly not native, the least was 0.36."""
TELLING_US = 10_000_000
"""Less sound is a poor witness of its language."""
LOOPING = 2.4
"""Text that gzip makes so much shorter repeats itself: the limit of Whisper's authors."""
LIKELY_WORDS = 0.5
"""The least mean probability of a window's words. Over synthetic Russian and Chinese speech it is 0.39 to
0.46, in windows of the developer meetings that are unsure of English 0.72 and more."""
LETTERED_WORDS = 0.5
"""The least share of words with a letter."""
UNSURE = -1.0
"""Their limit of the mean log probability of a token."""


@dataclass(frozen=True, slots=True)
class Language:
    code: str
    share: float
    """How probable it is; 1 if it was requested."""


def pieces(talk: Sequence[Span], stop_us: int) -> list[Span]:
    """Up to `MOST_PIECES` pieces of at most `PIECE_US`, at even steps of the time somebody talks."""
    spans = union(talk)
    total_us = sum(span.duration_us for span in spans)
    count = min(MOST_PIECES, -(-total_us // PIECE_US))
    cut: list[Span] = []
    for number in range(count):
        middle_us = _place(spans, total_us * (2 * number + 1) // (2 * count))
        start_us = max(0, min(middle_us - PIECE_US // 2, stop_us - PIECE_US))
        if start_us < min(start_us + PIECE_US, stop_us):
            cut.append(Span(start_us, min(start_us + PIECE_US, stop_us)))
    return cut


def _place(spans: Sequence[Span], into_us: int) -> int:
    """The time at which so much has been talked."""
    for span in spans:
        if into_us < span.duration_us:
            return span.start_us + into_us
        into_us -= span.duration_us
    return spans[-1].stop_us


def likeliest(shares: Mapping[str, float]) -> Language:
    return Language(*max(sorted(shares.items()), key=lambda item: item[1])) if shares else Language("", 0.0)


def in_language(window: Window, language: Language) -> tuple[list[Heard], list[Drop]]:
    """The window's words, or a Drop if they are in another language or unlikely text."""
    words = joined_tokens(window.words, language.code)
    other = foreign(window, language.code)
    if not words:
        return [], []
    if other is not None:
        reason = (
            f"was written as {language.code!r} over speech that sounds like {other.code!r}"
            f" ({other.share:.2f});"
            ' transcribe.language = "auto" finds the language of each recording'
        )
        return [], [_of_window(window, words_drop("foreign_language", reason, words))]
    share = min(language.share, dict(window.languages).get(language.code, language.share))
    if share < CLEAR and not plausible(window):
        reason = f"is no likely text in {language.code!r}, which is not sure to be spoken ({share:.2f})"
        return [], [_of_window(window, words_drop("unlikely_words", reason, words))]
    return words, []


def with_neighbours(windows: Iterable[Window]) -> Iterator[Window]:
    """The windows; one too short to tell a language by has that of the window before it, and its doubts."""
    before: Window | None = None
    for window in windows:
        if before is not None and window.span.duration_us < TELLING_US:
            doubtful = before.doubtful or not plausible(before)
            window = replace(window, languages=before.languages, doubtful=doubtful)
        yield window
        before = window


def _of_window(window: Window, drop: Drop) -> Drop:
    return replace(drop, start_us=window.span.start_us, stop_us=window.span.stop_us)


def foreign(window: Window, asked: str) -> Language | None:
    """The language spoken in the window, if it is certainly not the requested one."""
    share_of = dict(window.languages)
    if not share_of or share_of.get(asked, 0.0) >= FOREIGN:
        return None
    return Language(*window.languages[0])


def plausible(window: Window) -> bool:
    """Whether the window's text may be speech at all; mere numbers, which any language has, are not."""
    words = window.words
    sure = sum(word.probability for word in words) >= LIKELY_WORDS * len(words)
    lettered = sum(any(c.isalpha() for c in word.written) for word in words) >= LETTERED_WORDS * len(words)
    return (
        sure
        and lettered
        and not window.doubtful
        and window.compression_ratio <= LOOPING
        and window.log_probability >= UNSURE
    )
