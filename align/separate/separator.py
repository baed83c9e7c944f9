"""The interface of separators of overlapped voices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from corpus.schemas.arrays import Float32Array


class Separate(Protocol):
    """Separates sound at `backend.MODEL_RATE_HZ`."""

    def __call__(self, sound: Float32Array, speakers: int) -> Float32Array:
        """[sources, samples], in any order and at any level; at least as many sources as speakers."""
        ...


@dataclass(frozen=True, slots=True)
class Separator:
    """A separator that is ready to be loaded."""

    name: str
    """Its name in clips."""
    identity: str
    """Identifies the weights, the library versions and the device."""
    most_speakers: int
    load: Callable[[], Separate]
