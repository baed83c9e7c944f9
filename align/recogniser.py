"""The interface of speech recognisers, and opening the one that the settings name."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

from corpus.align.heard import Window
from corpus.align.models import HINT, WHISPER_PREFIX, find, pinned_digest
from corpus.align.wheels import sha256_of
from corpus.schemas.arrays import Float32Array
from corpus.schemas.errors import MissingDependencyError, SettingsError
from corpus.schemas.settings import TranscribeSettings

WHISPERX_PREFIX = "whisperx:"


class Recogniser(Protocol):
    """Recognises words in sound at 16 kHz, at most some five minutes at once."""

    def windows(
        self, sound: Float32Array, zero_us: int, *, language: str, beam_size: int, prompt: str
    ) -> Iterator[Window]:
        """The windows in which something was recognised, in order; the sound begins at `zero_us`."""
        ...

    def languages_of(self, sounds: Sequence[Float32Array]) -> dict[str, float]:
        """The probability of each language, the mean over pieces of at most 30 s."""
        ...


@dataclass(frozen=True, slots=True)
class Recognising:
    """A recogniser that is ready to be loaded."""

    identity: tuple[str, ...]
    """Identifies the weights, the library versions and the device."""
    aligns: bool
    """Whether its words are already aligned with the sound."""
    load: Callable[[], Recogniser]


def open_recogniser(settings: TranscribeSettings, models: Path | None) -> Recognising:
    """The recogniser that `transcribe.backend` names.

    Raises:
        MissingModelError: weights are not on this machine.
        MissingDependencyError: the library is not installed.
        SettingsError: an unknown backend, or a GPU that is not there.
    """
    if settings.backend.startswith(WHISPERX_PREFIX):
        return _whisperx(settings, models)
    if importlib.util.find_spec("faster_whisper") is None:
        raise MissingDependencyError("faster-whisper is not installed", todo=HINT)
    if settings.backend == "default":
        folder, weights = find("whisper-base", models), pinned_digest("whisper-base")
    elif settings.backend.startswith(WHISPER_PREFIX):
        folder, weights = _weights(settings.backend.removeprefix(WHISPER_PREFIX), models)
    else:
        raise SettingsError(
            f"transcribe.backend = {settings.backend!r} is unknown",
            todo="it must be default, whisper:SIZE-OR-DIRECTORY, whisperx:SIZE-OR-DIRECTORY or none",
        )
    device = _device_of(settings.device)

    def load() -> Recogniser:
        from corpus.align.whisper import Whisper

        model = Whisper(
            folder,
            device=device,
            # With 8 bits, words would depend on the processor's rounding.
            compute_type="float16" if device == "cuda" else "float32",
            threads=settings.threads,
        )
        if settings.batch_size == 1:
            return model
        from corpus.align.whisper_batched import Batched

        return Batched(model, settings.batch_size)

    libraries = [f"{n}={version(n)}" for n in ("faster-whisper", "ctranslate2", "tokenizers", "numpy")]
    return Recognising((weights, *libraries, device), False, load)


def _whisperx(settings: TranscribeSettings, models: Path | None) -> Recognising:
    from corpus.align.whisperx_words import WhisperX, require_whisperx

    versions = require_whisperx()
    folder, weights = _weights(settings.backend.removeprefix(WHISPERX_PREFIX), models)
    device = _device_of(settings.device)
    return Recognising(
        (weights, versions, device),
        True,
        lambda: WhisperX(
            str(folder), device=device, threads=settings.threads, windows_at_once=settings.batch_size
        ),
    )


def _weights(name: str, models: Path | None) -> tuple[Path, str]:
    """A folder in faster-whisper's form, and the digest of its files."""
    path = Path(name).expanduser()
    folder = path if path.is_dir() else find(f"{WHISPER_PREFIX}{name}", models)
    files = sorted(file for file in folder.iterdir() if file.is_file())
    listing = "".join(f"{file.name} {sha256_of(file)}\n" for file in files)
    return folder, hashlib.sha256(listing.encode()).hexdigest()


def _device_of(asked: str) -> str:
    """`cpu` or `cuda`."""
    import ctranslate2

    gpus = ctranslate2.get_cuda_device_count() if asked != "cpu" else 0
    if asked == "cuda" and not gpus:
        raise SettingsError('device = "cuda", but ctranslate2 finds no GPU', todo='use "auto" or "cpu"')
    return "cuda" if gpus else "cpu"
