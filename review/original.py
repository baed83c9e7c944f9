"""Pictures at full rate, decoded from the original file if it is still in place."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av

from corpus.schemas.errors import FormatError
from corpus.schemas.marks import FileMark, Marks

_STATE = ".cache"
"""In OUT: what a build keeps, among it which files it read and how they looked."""
_WIDTH = 480
"""Of a picture, in pixels, at most."""
_ALONE = {
    "protocol_whitelist": "file",
    "format_whitelist": "mov,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,asf,mxf,ogg,nut,dv,wtv,ivf,rm,gxf",
}
"""A dataset's records may come from elsewhere: they may name a film, never a playlist."""
_QUALITY = 70
_MOST_FRAMES = 4_000
_FIRST_US = 1_000_000
"""Decoded before a stretch: what was on the screen when it begins."""


Picture = tuple[int, bytes]
"""Presentation time and JPEG."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Film:
    """The chosen video stream of a recording of one file."""

    stream: int
    offset_us: int
    """Its first picture's time on the recording's clock."""


class Originals:
    """The dataset's original files that are unchanged since it was built."""

    def __init__(self, out: Path) -> None:
        try:
            marks: Iterable[FileMark] = Marks(out / _STATE).but(frozenset()).values()
        except FormatError:  # damaged, or another version's
            marks = ()
        self._marks = {mark.sha256: mark for mark in marks}

    def path(self, recording: str) -> Path | None:
        """The single file of a recording, whose content hash is the recording's name."""
        mark = self._marks.get(recording)
        if mark is None:
            return None
        path = Path(mark.place)
        try:
            now = path.stat()
        except (OSError, ValueError):  # ValueError: a NUL byte in the name
            return None
        return path if (now.st_size, now.st_mtime_ns) == (mark.bytes, mark.mtime_ns) else None

    def pictures(self, recording: str, film: Film, start_us: int, stop_us: int) -> list[Picture] | None:
        """Every picture of a stretch and the one before it; None if they are not available."""
        path = self.path(recording)
        if path is None:
            return None
        try:
            return _decoded(path, film, start_us, stop_us)
        except (av.FFmpegError, OSError, ValueError, IndexError):  # those of the shards do
            return None


def _decoded(path: Path, film: Film, start_us: int, stop_us: int) -> list[Picture]:
    pictures: list[Picture] = []
    with av.open(str(path), metadata_errors="ignore", options=_ALONE) as container:
        stream = container.streams[film.stream]
        if not isinstance(stream, av.VideoStream) or stream.time_base is None:
            raise ValueError("no video stream")
        stream.thread_type = "AUTO"
        zero, tick_us = stream.start_time or 0, stream.time_base * 1_000_000
        wanted = max(0, start_us - film.offset_us - _FIRST_US)
        container.seek(zero + int(wanted / tick_us), stream=stream)
        last: tuple[int, av.VideoFrame] | None = None
        for frame in container.decode(stream):
            if frame.pts is None:
                continue
            pts_us = film.offset_us + round((frame.pts - zero) * tick_us)
            if pts_us >= stop_us:
                break
            if len(pictures) == _MOST_FRAMES:
                raise ValueError("more pictures than a page can hold")
            if pts_us < start_us:
                last = (pts_us, frame)
                continue
            if last is not None:
                pictures.append((last[0], _jpeg(last[1], stream.sample_aspect_ratio)))
                last = None
            pictures.append((pts_us, _jpeg(frame, stream.sample_aspect_ratio)))
        if last is not None and not pictures:
            pictures.append((last[0], _jpeg(last[1], stream.sample_aspect_ratio)))
    return pictures


def _jpeg(frame: av.VideoFrame, aspect: Fraction | None) -> bytes:
    wide = Fraction(frame.width) * (aspect or 1)
    share = min(Fraction(1), Fraction(_WIDTH) / wide)
    size = max(2, round(wide * share)), max(2, round(frame.height * share))
    image = frame.to_image(width=size[0], height=size[1])  # type: ignore[no-untyped-call]
    if frame.rotation % 360:
        image = image.rotate(frame.rotation % 360, expand=True)
    content = io.BytesIO()
    image.save(content, "JPEG", quality=_QUALITY)
    return content.getvalue()
