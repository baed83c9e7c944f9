"""A `tokenizer.json` of the library `tokenizers`, where each token stands for bytes (byte-level BPE).

GPT, Llama 3, Qwen and Mistral's later models have such tokenizers. Those that do not preserve bytes
(WordPiece, lower-casing, SentencePiece prefixes) are refused, with an example of a text they change. Special
tokens of the file keep their numbers and stand for their own spelling.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from corpus.schemas.errors import MissingDependencyError, SettingsError, StorageError
from corpus.trainer.data.text import Tokenizer

TOKENIZER_NAME = "tokenizer.json"
_MOST_TOKENS = 1 << 20
"""A single number in a downloaded file must not use up all memory."""
_PROBES = (" hello", " Don't", "  two  spaces", "\n\ttab", " Grüße, 語言 😀!", " A1b2 ÆØ\u0301", "x")


def _alphabet() -> dict[str, int]:
    """GPT-2's letters for bytes: printable ones are themselves, the others are mapped to 256 and up."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    letters = {chr(byte): byte for byte in printable}
    return letters | {chr(256 + number): byte for number, byte in enumerate(others)}


def kept_tokenizer(name: str, folder: Path) -> str:
    """The value of `data.tokenizer` that names the copy in a run's or a model's folder."""
    kept = folder / TOKENIZER_NAME
    return str(kept.absolute()) if name != "bytes" and kept.exists() else name


def keep_tokenizer(name: str, folder: Path) -> None:
    """Copy the tokenizer's file into a run's or a model's folder."""
    kept = folder / TOKENIZER_NAME
    if name == "bytes" or (kept.exists() and Path(name).resolve() == kept.resolve()):
        return
    try:
        shutil.copyfile(name, kept)
    except OSError as error:
        raise StorageError(f"cannot be written: {error.strerror}", where=str(kept)) from error


def read_tokenizer(name: str) -> Tokenizer:
    """Raises: SettingsError if it is not byte-level, MissingDependencyError without the library."""
    try:
        data = Path(name).read_bytes()
    except (OSError, ValueError) as error:  # a name may hold a zero byte
        todo, why = "name a tokenizer.json, or bytes", getattr(error, "strerror", error)
        raise SettingsError(f"no tokenizer {name!r}: {why}", where="data.tokenizer", todo=todo) from error
    return _read(data, name)


@lru_cache(maxsize=4)
def _read(data: bytes, name: str) -> Tokenizer:
    try:
        from tokenizers import Tokenizer as Library
    except ImportError as error:
        todo = "pip install tokenizers"
        raise MissingDependencyError("a tokenizer.json needs tokenizers", where=name, todo=todo) from error
    try:
        library = Library.from_buffer(data)
        # Numbered as the library does: it ignores numbers in the file that are already taken.
        added = {number: token.content for number, token in library.get_added_tokens_decoder().items()}
        size = library.get_vocab_size(with_added_tokens=True)
        library.no_padding()
        library.no_truncation()
    except Exception as error:  # the library raises plain Exception for what it cannot parse
        raise SettingsError(f"is not a tokenizer.json: {error}", where=name, todo="name another") from error
    numbers = library.get_vocab(with_added_tokens=True).values()
    if len(set(numbers)) < len(numbers):
        what = "two of its tokens have the same number, so text would not come back"
        raise SettingsError(what, where=name, todo="name another")
    largest = max(numbers, default=-1)
    if largest >= _MOST_TOKENS:
        what = f"has a token of number {largest}; a vocabulary of {_MOST_TOKENS} is the largest taken"
        raise SettingsError(what, where=name, todo="name another")
    pieces = [_piece(library, number, added) for number in range(max(size, largest + 1))]

    def ids(text: str) -> Sequence[int]:
        whole = text.encode("utf-8", errors="replace").decode()
        tokens: Sequence[int] = library.encode(whole, add_special_tokens=False).ids
        return tokens

    tokenizer = Tokenizer(identity=f"sha256:{hashlib.sha256(data).hexdigest()}", pieces=pieces, ids=ids)
    # Try it: a file does not reliably declare what its tokenizer normalises.
    for probe in _PROBES:
        back = tokenizer.decode(tokenizer.encode(probe))
        if back != probe:
            raise SettingsError(
                f"its tokens of {probe!r} stand for {back!r}",
                where=name,
                todo="take a byte-level one that neither normalizes nor adds, or data.tokenizer=bytes",
            )
    return tokenizer


_LETTERS = _alphabet()


def _piece(library: Any, number: int, added: dict[int, str]) -> bytes:
    """The bytes of a token; empty for an unused number."""
    if number in added:
        return added[number].encode()
    token: str | None = library.id_to_token(number)
    if token is None:
        return b""
    if all(letter in _LETTERS for letter in token):
        return bytes(_LETTERS[letter] for letter in token)
    return token.encode()
