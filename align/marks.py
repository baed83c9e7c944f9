"""Marks that transcribers write among words: non-speech, optional words, alternatives."""

from __future__ import annotations

import re
from collections.abc import Iterable

_NOT_SPOKEN = re.compile(r"\[[^\]]*\]|<[^>]*>|\{[^}]*\}|@|\*+")
_OPTIONAL = re.compile(r"\(([^()]+)\)")


def spoken(token: str) -> str | None:
    """The word of a token; None for a mark such as `[noise]`, `<sil>` or `@`. `(uh)` is an optional `uh`."""
    if _NOT_SPOKEN.fullmatch(token):
        return None
    found = _OPTIONAL.fullmatch(token)
    return found.group(1) if found else token


def spoken_words(tokens: Iterable[str]) -> tuple[list[str], list[str]]:
    """Words, and what is left out: marks, and all but the first of `{ this / that }`."""
    words: list[str] = []
    left: list[str] = []
    inside = first = False
    for token in tokens:
        if token == "{":
            inside = first = True
        elif token == "}":
            inside = False
        elif inside and token == "/":
            first = False
        elif (word := spoken(token)) is None or (inside and not first):
            left.append(token)
        else:
            words.append(word)
    return words, left
