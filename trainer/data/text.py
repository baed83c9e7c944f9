"""Text as tokens: one for each byte of UTF-8, or those of a `tokenizer.json` (tokenizer_file.py).

Either way a token stands for bytes, and the bytes of a text's tokens are the text's: any text survives a
round trip, and nothing is out of vocabulary. A word is always written with a space before it, so the same
word is always the same tokens.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from corpus.trainer.data.sequence import BYTE_0, TOOL

Tokens = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokenizer:
    """Converts text to tokens and back; tokens of text are `[BYTE_0, BYTE_0 + size)`."""

    identity: str
    """`bytes`, or the sha256 of a file: equal identities mean equal tokenizers."""
    pieces: Sequence[bytes]
    """The bytes of each token, numbered by the tokenizer from 0."""
    ids: Callable[[str], Sequence[int]]
    """The tokenizer's own numbers for a text, from 0."""

    @property
    def size(self) -> int:
        return len(self.pieces)

    def encode(self, text: str) -> Tokens:
        """Tokens of a text. Half a surrogate pair, which UTF-8 cannot hold, is replaced."""
        return tuple(map(BYTE_0.__add__, self.ids(text)))

    def decode(self, tokens: Iterable[int]) -> str:
        """Text of tokens. Control tokens are left out; invalid UTF-8 and unknown tokens become U+FFFD: a
        model may write anything, and that is not an error."""
        return b"".join(map(self._bytes, tokens)).decode("utf-8", errors="replace")

    def readable(self, before: bytes, tokens: Iterable[int]) -> tuple[str, bytes]:
        """Text of some bytes and the tokens after them; and the bytes of an incomplete letter at the end."""
        written = b"".join(self.pieces[token - BYTE_0] for token in tokens if self._stands(token))
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        text = decoder.decode(before + written)
        return text, decoder.getstate()[0]

    def word(self, text: str, after: str = "") -> Tokens:
        """Tokens of a space, a word and the punctuation after it."""
        word = f"{text}{after}".strip()
        return self.encode(f" {word}") if word else ()

    def event(self, text: str) -> Tokens:
        """Tokens of an event's text as the model receives it."""
        return (TOOL, *self.encode(text))

    def _stands(self, token: int) -> bool:
        return BYTE_0 <= token < BYTE_0 + len(self.pieces)

    def _bytes(self, token: int) -> bytes:
        token = int(token)
        if self._stands(token):
            return self.pieces[token - BYTE_0]
        return "\ufffd".encode() if token >= BYTE_0 else b""


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", errors="replace")


BYTES = Tokenizer(identity="bytes", pieces=[bytes((byte,)) for byte in range(256)], ids=_utf8)
