"""The build: inputs, stages, cache, workers, quarantine, publishing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from corpus.schemas.lazy import loaded

if TYPE_CHECKING:
    from corpus.pipeline.build import build_dataset
    from corpus.pipeline.progress import Quiet
    from corpus.pipeline.request import Outcome, Request

__all__ = [
    "Outcome",
    "Quiet",
    "Request",
    "build_dataset",
]
_HOMES = {
    "Outcome": "request",
    "Quiet": "progress",
    "Request": "request",
    "build_dataset": "build",
}

if not TYPE_CHECKING:  # else every misspelt name would pass the type checker

    def __getattr__(name: str) -> object:
        return loaded(__name__, _HOMES, name)
