"""What takes overlapped voices apart, whoever made it, and how one is opened."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from corpus.align.backend import device_of
from corpus.schemas.arrays import Float32Array
from corpus.schemas.errors import SettingsError
from corpus.schemas.settings import SeparateSettings

PYANNOTE_PREFIX = "pyannote:"
ASTEROID_PREFIX = "asteroid:"


class Separate(Protocol):
    """Takes sound at `backend.MODEL_RATE_HZ` apart."""

    def __call__(self, sound: Float32Array, speakers: int) -> Float32Array:
        """[sources, samples]: in any order, at any level, at least as many sources as speakers."""
        ...


@dataclass(frozen=True, slots=True)
class Separator:
    """A separator that is ready to be loaded."""

    name: str
    """What clips call it."""
    identity: str
    """Of the weights, the library versions and the device."""
    most_speakers: int
    load: Callable[[], Separate]


def open_separator(settings: SeparateSettings, models: Path | None = None) -> Separator | None:
    """The separator of the settings; None for `mask`, which leaves overlaps in the room.

    Raises:
        MissingModelError: weights are not on this machine.
        MissingDependencyError: a package that the weights need is not installed.
        SettingsError: an unknown backend, or a GPU that is not there.
        FormatError: a file that holds no separator, or more than weights.
    """
    backend = settings.backend
    if backend == "mask":
        return None
    device = device_of(settings.device)
    if backend.startswith(ASTEROID_PREFIX):
        from corpus.align.separate.asteroid import asteroid_separator

        return _once(asteroid_separator(Path(backend.removeprefix(ASTEROID_PREFIX)).expanduser(), device))
    if backend.startswith(PYANNOTE_PREFIX):
        from corpus.align.separate.pyannote import pyannote_separator

        return _once(pyannote_separator(backend.removeprefix(PYANNOTE_PREFIX), models, device))
    raise SettingsError(
        f"separate.backend = {backend!r} is unknown",
        todo="it must be mask, pyannote:HUB-ID-OR-DIRECTORY or asteroid:FILE",
    )


def _once(separator: Separator) -> Separator:
    """The same, loaded at most once."""
    return Separator(
        separator.name, separator.identity, separator.most_speakers, functools.cache(separator.load)
    )
