"""Opens the separator that the settings name."""

from __future__ import annotations

import functools
from pathlib import Path

from corpus.align.backend import device_of
from corpus.align.separate.separator import Separator
from corpus.schemas.errors import SettingsError
from corpus.schemas.settings import SeparateSettings

_PYANNOTE_PREFIX = "pyannote:"
_ASTEROID_PREFIX = "asteroid:"


def open_separator(settings: SeparateSettings, models: Path | None = None) -> Separator | None:
    """The separator that the settings name; None for `mask`, which leaves overlaps in the room.

    Raises:
        MissingModelError: weights are not on this machine.
        MissingDependencyError: a package that the weights need is not installed.
        SettingsError: an unknown backend, or a GPU that is not there.
        FormatError: a file without a separator, or with more than weights.
    """
    backend = settings.backend
    if backend == "mask":
        return None
    device = device_of(settings.device)
    if backend.startswith(_ASTEROID_PREFIX):
        from corpus.align.separate.asteroid import asteroid_separator

        return _once(asteroid_separator(Path(backend.removeprefix(_ASTEROID_PREFIX)).expanduser(), device))
    if backend.startswith(_PYANNOTE_PREFIX):
        from corpus.align.separate.pyannote import pyannote_separator

        return _once(pyannote_separator(backend.removeprefix(_PYANNOTE_PREFIX), models, device))
    raise SettingsError(
        f"separate.backend = {backend!r} is unknown",
        todo="it must be mask, pyannote:HUB-ID-OR-DIRECTORY or asteroid:FILE",
    )


def _once(separator: Separator) -> Separator:
    """The same separator, loaded at most once."""
    return Separator(
        separator.name, separator.identity, separator.most_speakers, functools.cache(separator.load)
    )
