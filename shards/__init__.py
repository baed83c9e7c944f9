"""The dataset's files: clips in tars, their reader, their stream, and the verification of the format."""

from __future__ import annotations

from typing import TYPE_CHECKING

from corpus.schemas.lazy import loaded

if TYPE_CHECKING:
    from corpus.shards.read import Clip, Clips, open_clips
    from corpus.shards.stream import stream_clips
    from corpus.shards.verify import verify_dataset

__all__ = [
    "Clip",
    "Clips",
    "open_clips",
    "stream_clips",
    "verify_dataset",
]
_HOMES = {
    "Clip": "read",
    "Clips": "read",
    "open_clips": "read",
    "stream_clips": "stream",
    "verify_dataset": "verify",
}

if not TYPE_CHECKING:  # else every misspelt name would pass the type checker

    def __getattr__(name: str) -> object:
        return loaded(__name__, _HOMES, name)
