"""Marks that transcribers write among words: non-speech, optional words, alternatives."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

BRACES = ("{", "}")
"""Around words of which the transcriber was not sure: `{ this / that }`."""
_NOT_SPOKEN = re.compile(
    r"\[[^\]]*\]|<[^>]*>|\{[^}]*\}|@|\*+"  # sounds and other marks
    r"|[-‐‑–—]+|>+|_+|[♪♫]+"  # another voice, a gap, music
    r"|\(?%hes\w*\)?",  # a hesitation, whichever it was
    re.IGNORECASE,
)
_OPTIONAL = re.compile(r"\(([^()]+)\)")
_FILLER = re.compile(r"%([^\W\d_]+)")
"""`%um` of the Linguistic Data Consortium's transcripts."""


def spoken(token: str) -> str | None:
    """The word of a token; None for a mark such as `[noise]`, `<sil>`, `@`, `-` or `>>`.

    `(uh)` is an optional `uh`, `%um` is `um`.
    """
    if _NOT_SPOKEN.fullmatch(token):
        return None
    match = _OPTIONAL.fullmatch(token)
    word = match.group(1) if match else token
    filler = _FILLER.fullmatch(word)
    return filler.group(1) if filler else word


def opens_mark(token: str) -> bool:
    """Whether the token may begin a mark that goes on over the tokens behind it."""
    return token.startswith(("[", "(")) and not token.endswith(("]", ")"))


def spoken_words(tokens: Iterable[str]) -> tuple[list[str], list[str]]:
    """Words, and what is left out: marks (`[door slams]`), and all but the first of `{ this / that }`."""
    words: list[str] = []
    left: list[str] = []
    inside = first = False
    for token in _marks_joined(tokens):
        if token in BRACES:
            inside = first = token == BRACES[0]
        elif inside and token == "/":
            first = False
        elif (word := spoken(token)) is None or (inside and not first):
            left.append(token)
        else:
            words.append(word)
    return words, left


def _marks_joined(tokens: Iterable[str]) -> Iterator[str]:
    """The tokens, a mark in square brackets that holds spaces as one."""
    waiting: list[str] = []
    for token in tokens:
        if "[" in token:  # one that was never closed is no mark
            yield from waiting
            waiting = []
        if waiting:
            waiting.append(token)
            if "]" in token:
                joined, waiting = " ".join(waiting), []
                yield from (joined,) if _NOT_SPOKEN.fullmatch(joined) else joined.split()
        elif token.startswith("[") and "]" not in token:
            waiting = [token]
        else:
            yield token
    yield from waiting
