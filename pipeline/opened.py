"""A worker's models, each opened only once and only when a recording needs it."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from corpus.align.separate.overlaps import several_talk
from corpus.schemas.artifacts import Decoded
from corpus.schemas.conversation import Conversation
from corpus.schemas.errors import CorpusError, MissingError, MissingModelError, StorageError
from corpus.schemas.settings import DiarizeSettings, SeparateSettings, Settings, TranscribeSettings
from corpus.schemas.turn_taking import speech_by_speaker

if TYPE_CHECKING:
    from corpus.align.diarize import Diarizer
    from corpus.align.separate.apply import Separating
    from corpus.align.separate.separator import Separator
    from corpus.align.transcribe import Transcriber


@contextmanager
def _loading(what: str) -> Iterator[None]:
    """A model that cannot be loaded is not the recording's fault: stop the build."""
    try:
        yield
    except (StorageError, MissingError):
        raise
    except CorpusError as error:
        place = f"{error.where}: " if error.where else ""
        raise MissingModelError(f"{what} cannot be loaded: {place}{error.what}", todo=error.todo) from error
    except Exception as error:
        raise MissingModelError(
            f"{what} cannot be loaded: {type(error).__name__}: {error}",
            todo="`corpus models pull` brings the default models whole; check the setting's name or folder",
        ) from error


def open_separating(settings: Settings, decoded: Decoded, conversation: Conversation) -> Separating | None:
    """The separator of overlapped speech and its judge, if the recording has overlaps."""
    if settings.separate.backend == "mask" or not decoded.channels or decoded.one_speaker_per_channel:
        return None
    # Without overlaps no model is loaded.
    if not several_talk(speech_by_speaker(conversation)):
        return None
    from corpus.align.separate.apply import Separating

    separator = _separator(settings.separate)
    if separator is None:
        return None
    # The judge compares words recognised before and after; without a recogniser only levels are compared.
    silent = settings.transcribe.backend == "none"
    recogniser = None if silent else open_transcriber(settings.transcribe)
    return Separating(
        separator,
        recogniser.words_of if recogniser else None,
        recogniser.key if recogniser else "",
        settings.separate.threads,
    )


@functools.cache
def _separator(settings: SeparateSettings) -> Separator | None:
    with _loading("the separator"):
        from corpus.align.separate.open import open_separator

        separator = open_separator(settings, None)
        if separator is not None:
            separator.load()
        return separator


@functools.cache
def open_diarizer(settings: DiarizeSettings, channels: tuple[str | None, ...] | None) -> Diarizer | None:
    """The diarizer, opened once per worker and only when a recording needs it."""
    if settings.backend == "none":
        return None
    with _loading("the diarizer"):
        if channels is not None:
            from corpus.align.channels_vad import open_channels_vad

            return open_channels_vad(settings, tuple(str(name) for name in channels))
        from corpus.align import diarize

        return diarize.open_diarizer(settings, None)


@functools.cache
def open_transcriber(settings: TranscribeSettings) -> Transcriber:
    from corpus.align import transcribe

    with _loading("the transcriber"):
        return transcribe.open_transcriber(settings, None)
