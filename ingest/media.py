"""Opening a media file safely: only a regular file, by descriptor, and only what is in it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
from av.container import InputContainer

from corpus.schemas.errors import MediaError

FORMATS = (
    "aac,ac3,aiff,amr,ape,asf,asf_o,au,avi,caf,dv,eac3,flac,flv,h264,hevc,ivf,live_flv,m4v,matroska,"
    "mov,mp3,mpeg,mpegts,mpegvideo,mxf,nsv,nut,ogg,rm,tta,voc,w64,wav,webm,wv"
)
"""The demuxers that may read. Playlists, image patterns and text art are not among them: a file can
neither name other files nor pass a page of text for a film."""

READ_BYTES = 1 << 17


class _Reader:
    """The bytes of an open descriptor. It has no name, so libav cannot take one for a protocol."""

    def __init__(self, descriptor: int) -> None:
        self._file = os.fdopen(descriptor, "rb", buffering=0)
        self.read = self._file.read
        self.seek = self._file.seek
        self.tell = self._file.tell

    def close(self) -> None:
        self._file.close()


def regular_file_size(path: Path) -> int:
    """The size of a regular, non-empty file; raises MediaError for anything else, opening nothing."""
    try:
        found = os.stat(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise MediaError(f"cannot be read: {reason}", where=path.name) from error
    if stat.S_ISDIR(found.st_mode):
        raise MediaError("is a folder, not a media file", where=path.name)
    if not stat.S_ISREG(found.st_mode):
        raise MediaError("is no regular file (a pipe, socket or device)", where=path.name)
    if found.st_size == 0:
        raise MediaError("is empty: it holds no bytes at all", where=path.name)
    return found.st_size


def _descriptor(path: Path) -> int:
    """An open regular file. Since it was looked at it may have become a pipe: hence non-blocking."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise MediaError(f"cannot be read: {error.strerror}", where=path.name) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise MediaError("is no regular file (a pipe, socket or device)", where=path.name)
    return descriptor


@contextmanager
def open_media(path: Path) -> Iterator[InputContainer]:
    """The container of a media file; raises MediaError, with a sentence for a person, when it is none."""
    regular_file_size(path)
    reader = _Reader(_descriptor(path))
    try:
        container = _open(path, reader)
        try:
            yield container
        finally:
            container.close()
    finally:
        reader.close()


def _open(path: Path, reader: _Reader) -> InputContainer:
    options = {"format_whitelist": FORMATS, "protocol_whitelist": "file", "max_streams": "256"}
    try:
        return av.open(
            reader,
            "r",
            container_options=options,
            metadata_errors="replace",
            buffer_size=READ_BYTES,
        )
    except av.InvalidDataError as error:
        raise MediaError(
            "is not a media file, or it was cut off before the part that says what is in it",
            where=path.name,
            todo="check that it plays, and copy or export it again",
        ) from error
    except (av.FFmpegError, ValueError, OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise MediaError(f"cannot be opened as media: {reason}", where=path.name) from error
