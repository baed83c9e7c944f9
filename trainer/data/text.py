"""Text as tokens, one for each byte of UTF-8: any text survives the round trip, none is out of vocabulary.

A word is written with a space before it wherever it stands, so the same word is always the same tokens.
"""

from __future__ import annotations

from collections.abc import Iterable

from corpus.trainer.data.sequence import BYTE_0, SMALLEST_VOCAB, TOOL

Tokens = tuple[int, ...]


def encode(text: str) -> Tokens:
    """Tokens of a text. Half a surrogate pair, which UTF-8 cannot hold, is replaced."""
    return tuple(map(BYTE_0.__add__, text.encode("utf-8", errors="replace")))


def decode(tokens: Iterable[int]) -> str:
    """Text of tokens. Control tokens are left out; bytes that are no UTF-8, and tokens that stand for
    nothing, become U+FFFD: a model may write anything, and that is no error."""
    return b"".join(_bytes(int(token)) for token in tokens).decode("utf-8", errors="replace")


def _bytes(token: int) -> bytes:
    if BYTE_0 <= token < SMALLEST_VOCAB:
        return bytes((token - BYTE_0,))
    return "\ufffd".encode() if token >= SMALLEST_VOCAB else b""


def word_tokens(text: str, after: str = "") -> Tokens:
    """Tokens of a word and the punctuation behind it, a space before."""
    word = f"{text}{after}".strip()
    return encode(f" {word}") if word else ()


def event_tokens(text: str) -> Tokens:
    """Tokens of an event's text as it is given to the model."""
    return (TOOL, *encode(text))
