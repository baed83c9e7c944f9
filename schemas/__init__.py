"""The project's vocabulary: types, file forms, versions, errors. Imports no other room."""

from __future__ import annotations

from typing import TYPE_CHECKING

from corpus.schemas.lazy import loaded

if TYPE_CHECKING:
    from corpus.schemas.conversation import Conversation, Cue, Turn, Word
    from corpus.schemas.drops import Drop
    from corpus.schemas.errors import CorpusError
    from corpus.schemas.settings import Settings
    from corpus.schemas.span import Span

__all__ = [
    "Conversation",
    "CorpusError",
    "Cue",
    "Drop",
    "Settings",
    "Span",
    "Turn",
    "Word",
]
_HOMES = {
    "Conversation": "conversation",
    "CorpusError": "errors",
    "Cue": "conversation",
    "Drop": "drops",
    "Settings": "settings",
    "Span": "span",
    "Turn": "conversation",
    "Word": "conversation",
}

if not TYPE_CHECKING:  # else every misspelt name would pass the type checker

    def __getattr__(name: str) -> object:
        return loaded(__name__, _HOMES, name)
