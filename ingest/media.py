"""Opening a media file safely: only a regular file, by descriptor, and nothing outside it."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import av
import av.logging
from av.container import InputContainer

from corpus.ingest.behind import End, first_end
from corpus.ingest.edits import Film, film_of
from corpus.ingest.names import HEADERLESS
from corpus.ingest.riff import Patch, correct_header
from corpus.ingest.tags import behind_tags
from corpus.schemas.errors import MediaError

_FORMATS = (
    "aac,ac3,aiff,alaw,amr,amrnb,amrwb,ape,asf,asf_o,au,av1,avi,caf,dsf,dts,dtshd,dv,eac3,flac,flv,g722,gsm,"
    "gxf,h261,h263,h264,hevc,ircam,ivf,kux,live_flv,loas,m4v,matroska,mov,mp3,mpc,mpc8,mpeg,mpegts,mpegvideo,"
    "mulaw,mxf,nistsphere,nsv,nut,obu,ogg,oma,qcp,rm,shn,sln,sox,tak,truehd,tta,ty,vc1,voc,w64,wav,webm,wtv,wv"
)
"""The demuxers that may be used. Playlists, image patterns and text art are excluded: a file can neither
name other files nor pass off a page of text as a film."""

GROWING = frozenset("mpegts mpeg flv live_flv ogg nsv".split())
"""Containers whose head need not name all streams."""
_READ_BYTES = 1 << 17
_MOST_STREAMS = 1000
MOST_PIXELS = 8192 * 4320 * 2
"""Pixels of one picture: 100 MB in memory. Larger ones are not decoded."""


@dataclass(frozen=True, slots=True)
class Part:
    """The part of a file to read: the bytes from `start` to `stop`, preceded by `prefix`."""

    start: int = 0
    prefix: bytes = b""
    stop: int | None = None


_WHOLE = Part()


class Reader:
    """The bytes of an open descriptor. It has no name that libav could take for a protocol.

    It gives only what was there when opened; `patch` replaces a wrong part of the header.
    """

    def __init__(self, descriptor: int, part: Part = _WHOLE) -> None:
        self._descriptor = descriptor
        self._part = part
        self._shift = part.start - len(part.prefix)
        # Fixed now: a file that is still being copied would otherwise grow under the demuxer.
        size = os.fstat(descriptor).st_size
        self._size = (size if part.stop is None else min(size, part.stop)) - self._shift
        self._at = 0
        self.patch: Patch | None = None
        self.first = False
        """It reads the first of several joined files, and none follows it."""
        self.reads = 0
        """How often libav has read."""
        self.film = Film()
        """The edit lists of QuickTime and MP4."""
        self.end = End()
        """What follows the file; for libav the file ends before that."""

    def place(self, position: int) -> int:
        """The file's byte at which libav sees `position`."""
        return position + self._shift

    def read(self, size: int) -> bytes:
        self.reads += 1
        if self._at < len(self._part.prefix):
            data = self._part.prefix[self._at : self._at + size]
        else:
            size = max(0, min(size, self._size - self._at))
            # pread, because other readers share the descriptor's position after dup.
            data = os.pread(self._descriptor, size, self.place(self._at))
        if self.patch is not None and self._at < self.patch.offset + len(self.patch.data):
            data = _patched(data, self._at, self.patch)
        self._at += len(data)
        return data

    def peek(self, place: int, size: int) -> bytes:
        """Bytes of the file as it is, fewer at its end; the position stays."""
        return os.pread(self._descriptor, max(0, min(size, self._size - place)), self.place(place))

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = max(0, offset + (0, self._at, self._size)[whence])
        return self._at

    def tell(self) -> int:
        return self._at

    def find_end(self) -> None:
        """Check whether another file follows; if so, this one ends where that begins."""
        self.end = first_end(self.peek, self._size)
        if self.end.following is not None:
            self._size = self.end.following

    def part(self, part: Part) -> Reader:
        """Another reader of the same open file, even if its name now refers to another."""
        return Reader(os.dup(self._descriptor), part)

    def again(self) -> Reader:
        """Another reader of the same bytes."""
        return self.part(self._part)

    def close(self) -> None:
        os.close(self._descriptor)


def _patched(data: bytes, at: int, patch: Patch) -> bytes:
    changed = bytearray(data)
    for number, byte in enumerate(patch.data, start=patch.offset - at):
        if 0 <= number < len(changed):
            changed[number] = byte
    return bytes(changed)


def regular_file_size(path: Path) -> int:
    """The size of a regular, non-empty file; raises MediaError for anything else, opening nothing."""
    try:
        state = os.stat(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise MediaError(f"cannot be read: {reason}", where=path.name) from error
    if stat.S_ISDIR(state.st_mode):
        raise MediaError("is a folder, not a media file", where=path.name)
    if not stat.S_ISREG(state.st_mode):
        raise MediaError("is not a regular file (a pipe, socket or device)", where=path.name)
    if state.st_size == 0:
        raise MediaError("is empty: it holds no bytes at all", where=path.name)
    return state.st_size


def _descriptor(path: Path) -> int:
    """An open regular file. It may have become a pipe since it was checked: hence non-blocking."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise MediaError(f"cannot be read: {reason}", where=path.name) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise MediaError("is not a regular file (a pipe, socket or device)", where=path.name)
    return descriptor


@contextmanager
def open_reader(path: Path) -> Iterator[tuple[InputContainer, Reader]]:
    """The container of a media file, and the reader through which libav reads it.

    Raises:
        MediaError: it is not a media file; the message says why.
    """
    regular_file_size(path)
    with (
        closing(Reader(_descriptor(path))) as whole,
        closing(whole.part(Part(behind_tags(whole.peek)))) as reader,
    ):
        reader.patch, contradiction = correct_header(reader)
        if contradiction:
            raise MediaError(
                contradiction, where=path.name, todo="export it again, or convert it with a tool you trust"
            )
        reader.seek(0)
        reader.find_end()
        reader.first = reader.end.following is None
        with open_read(path, reader) as container:
            yield container, reader


@contextmanager
def open_read(path: Path, reader: Reader) -> Iterator[InputContainer]:
    """The container read from a reader; `path` is only a name for it."""
    reader.film = film_of(reader.peek)
    container = _open(path, reader)
    try:
        yield container
    finally:
        container.close()


def _open(path: Path, reader: Reader) -> InputContainer:
    options = {
        "format_whitelist": _FORMATS,
        "protocol_whitelist": "file",
        "max_streams": str(_MOST_STREAMS),
    }
    if reader.film.joined:
        options["ignore_editlist"] = "1"
    # libav guesses first; only what it cannot recognise is believed to be what its name says.
    form = HEADERLESS.get(path.suffix.lower())
    try:
        try:
            return _av_open(reader, None, options)
        except av.InvalidDataError:
            if form is None:
                raise
            reader.seek(0)
            return _av_open(reader, form, options)
    except av.InvalidDataError as error:
        raise MediaError(
            "is not a media file, or it was cut off before the part that says what is in it",
            where=path.name,
            todo="check that it plays, and copy or export it again",
        ) from error
    except (av.FFmpegError, ValueError, OSError, OverflowError, MemoryError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise MediaError(f"cannot be opened as media: {reason}", where=path.name) from error


def _av_open(reader: Reader, form: str | None, options: dict[str, str]) -> InputContainer:
    return av.open(
        reader,
        "r",
        format=form,
        options={"max_pixels": str(MOST_PIXELS)},
        container_options=options,
        metadata_errors="replace",
        buffer_size=_READ_BYTES,
    )


# --- what PyAV does not expose ------------------------------------------------------------------


def _dump(container: InputContainer) -> list[str]:
    """libav's own list of programmes and streams, including those that appeared while reading."""
    before = av.logging.get_level()
    av.logging.set_level(av.logging.INFO)
    try:
        text: str = container.dumps_format()  # type: ignore[attr-defined]
        return text.splitlines()
    finally:
        av.logging.set_level(before)


def stream_count(container: InputContainer) -> int:
    """How many streams have been met so far; PyAV lists only those in the head."""
    return sum(line.startswith("  Stream #0:") for line in _dump(container))


def programmes(container: InputContainer) -> dict[int, int]:
    """The programme of each stream that is in one; the first if it is in several.

    Text in the file cannot be mistaken for these lines: libav indents it and puts a colon before it.
    """
    programme_of: dict[int, int] = {}
    programme: int | None = None
    for line in _dump(container):
        if match := re.match(r"  Program (\d+)", line):
            programme = int(match[1])
        elif line.startswith("  No Program"):
            programme = None
        elif programme is not None and (match := re.match(r"  Stream #0:(\d+)", line)):
            programme_of.setdefault(int(match[1]), programme)
    return programme_of
