"""The interface of diarizers, which find speakers in a stretch of sound, and of their results."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from corpus.schemas.sight import Seen

MODEL_RATE_HZ = 16_000


@dataclass(frozen=True, slots=True)
class Found:
    """Who talks in one stretch of sound; times in seconds from its start."""

    talk: tuple[tuple[float, float, str], ...]
    """(start, stop, label), overlapping where they overlap."""
    centroids: dict[str, npt.NDArray[np.float64]]
    """The voice of each label, if it could be computed."""
    sure: tuple[tuple[float, float, float], ...] = ()
    """(start, stop, self-agreement of the network about who talks, 0 to 1), ordered and disjoint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How many speakers there may be in a stretch."""

    at_least: int = 1
    at_most: int | None = None


@dataclass(frozen=True, slots=True)
class View:
    """What is seen in the recording, and where on its clock the stretch begins."""

    seen: Seen
    zero_us: int


class StretchDiarizer(Protocol):
    """Finds who talks in up to about fifteen minutes of sound at `MODEL_RATE_HZ`."""

    def __call__(self, sound: npt.NDArray[np.float32], bounds: Bounds, view: View | None) -> Found: ...


@dataclass(frozen=True, slots=True)
class Backend:
    """A diarizer that is ready to be loaded: its identity and its loader."""

    identity: str
    """Identifies the weights, the library versions and the device."""
    load: Callable[[], StretchDiarizer]
    same_voice: float
    """Cosine distance of centroids up to which speakers of two stretches are the same."""


def device_of(asked: str) -> str:
    """`cpu` or `cuda`.

    Raises:
        SettingsError: a GPU is requested but torch finds none.
    """
    import torch

    from corpus.schemas.errors import SettingsError

    if asked == "cuda" and not torch.cuda.is_available():
        raise SettingsError('device = "cuda", but torch finds no GPU', todo='use "auto" or "cpu"')
    return "cuda" if asked != "cpu" and torch.cuda.is_available() else "cpu"
