"""Open the tokenizer that a setting names."""

from __future__ import annotations

from corpus.trainer.data.text import BYTES, Tokenizer


def tokenizer_named(name: str) -> Tokenizer:
    """The tokenizer that `data.tokenizer` names: `bytes`, or a file.

    Raises: SettingsError if the file cannot be used.
    """
    if name == "bytes":
        return BYTES
    from corpus.trainer.data.tokenizer_file import read_tokenizer

    return read_tokenizer(name)
