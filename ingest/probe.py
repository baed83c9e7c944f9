"""What is in a media file, read from its head only."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

from av.audio.stream import AudioStream
from av.container import InputContainer
from av.video.stream import VideoStream

from corpus.ingest.head import LONGEST_S, RateKind, StreamHead, file_start, preferred, scan, stream_heads
from corpus.ingest.media import open_reader, regular_file_size
from corpus.schemas.clock import us_from_seconds
from corpus.schemas.errors import MediaError
from corpus.schemas.recording import Oddity


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamInfo:
    """One audio or video stream as its header and first frames describe it."""

    kind: Literal["audio", "video"]
    index: int
    """Position among all streams of the file."""
    codec: str
    rate: str
    """Audio: samples per second. Video: average frames per second. An exact fraction."""
    rate_kind: RateKind
    """For the first two seconds or so of a video; `unknown` for audio."""
    time_base: str
    offset_us: int | None
    """First presentation minus the earliest of all streams; None if unknown or not chosen."""
    duration_us: int | None
    """As declared; None if the file does not say."""
    channels: int
    width: int
    """Displayed pixels, with rotation and sample aspect ratio applied; 0 for audio."""
    height: int
    coded_width: int
    coded_height: int
    rotation_degrees: int
    """Clockwise."""
    format: str
    """Sample or pixel format."""
    language: str
    default: bool
    chosen: bool
    """Whether `decode` would use it with the default settings."""
    oddities: tuple[Oddity, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaInfo:
    """What is in a media file. `duration_us` is the declared duration; decoding may find another."""

    container: str
    bytes: int
    duration_us: int | None
    streams: tuple[StreamInfo, ...]
    oddities: tuple[Oddity, ...]


def probe_media(path: Path) -> MediaInfo:
    """The facts of a media file, reading its head and decoding a frame of each stream.

    Raises:
        MediaError: it is not a media file, cannot be read, or holds nothing usable.
    """
    size = regular_file_size(path)
    with open_reader(path) as (container, reader):
        heads = stream_heads(container, reader)
        for kind in ("audio", "video"):
            head = preferred(heads, kind)
            if head is not None:
                head.chosen = True
        require_usable(heads, path.name)
        scan(container, heads)
        require_usable(heads, path.name)
        return _info(container, heads, size)


def require_usable(heads: list[StreamHead], where: str) -> None:
    """Raise MediaError unless at least one stream is chosen."""
    if any(h.chosen for h in heads):
        return
    if not heads:
        raise MediaError("holds neither sound nor pictures, or was cut off before them", where=where)
    reasons = "; ".join(f"stream {h.index} {h.refused}" for h in heads if h.refused)
    raise MediaError(f"holds nothing that can be used: {reasons}", where=where)


def _info(container: InputContainer, heads: list[StreamHead], size: int) -> MediaInfo:
    zero = file_start(heads)
    oddities: list[Oddity] = []
    duration = declared_duration(container, heads)
    if duration is not None and duration > LONGEST_S:
        oddities.append(absurd_duration(duration))
        duration = None
    return MediaInfo(
        container=container.format.name,
        bytes=size,
        duration_us=None if duration is None else us_from_seconds(duration),
        streams=tuple(_stream_info(h, zero) for h in heads),
        oddities=tuple(oddities),
    )


def declared_duration(container: InputContainer, heads: Iterable[StreamHead]) -> Fraction | None:
    """Seconds, as declared by the container or guessed by libav; for a film with joins, by its edit lists."""
    ends = [head.edits.end_s(head.media_stop) for head in heads if head.edits is not None]
    if ends:
        return max(ends)
    return None if container.duration is None else Fraction(container.duration, 1_000_000)


def absurd_duration(seconds: Fraction) -> Oddity:
    return Oddity(code="absurd_duration", detail=f"the file declares {int(seconds) // 3600} hours; ignored")


def head_oddities(head: StreamHead, zero: Fraction) -> list[Oddity]:
    """Oddities of a stream that its head shows."""
    oddities: list[Oddity] = []
    if head.refused:
        oddities.append(Oddity(code=head.refused_code, detail=f"the stream {head.refused}; not used"))
    if head.rate_kind == "variable":
        oddities.append(Oddity(code="variable_frame_rate", detail="the time between pictures varies"))
    if head.rotation_degrees or head.mirrored:
        mirrored = ", mirrored" if head.mirrored else ""
        oddities.append(
            Oddity(code="rotated", detail=f"shown turned by {head.rotation_degrees} degrees{mirrored}")
        )
    if head.first is not None and head.first != zero and head.chosen and not head.joined:
        offset_us = us_from_seconds(head.first - zero)
        oddities.append(
            Oddity(code="start_offset", detail=f"starts {offset_us} us after the earliest stream")
        )
    if head.first is not None and head.first < 0 and head.chosen:
        oddities.append(
            Oddity(code="negative_start", detail=f"first time stamp is {us_from_seconds(head.first)} us")
        )
    return oddities


def _stream_info(head: StreamHead, zero: Fraction) -> StreamInfo:
    stream = head.stream
    video = stream.codec_context if isinstance(stream, VideoStream) else None
    duration = None if stream.duration is None else stream.duration * head.tick
    if head.edits is not None:
        duration = head.edits.end_s(head.media_stop)
    known = head.chosen and head.first is not None
    return StreamInfo(
        kind=head.kind,
        index=head.index,
        codec=head.codec,
        rate=head.rate,
        rate_kind=head.rate_kind,
        time_base=str(head.tick),
        offset_us=us_from_seconds((head.first or Fraction(0)) - zero) if known else None,
        duration_us=None if duration is None or duration > LONGEST_S else us_from_seconds(duration),
        channels=head.channels,
        width=head.width,
        height=head.height,
        coded_width=video.width if video is not None else 0,
        coded_height=video.height if video is not None else 0,
        rotation_degrees=head.rotation_degrees,
        format=_format_name(stream),
        language=stream.language or "",
        default=bool(stream.disposition & 1),
        chosen=head.chosen,
        oddities=tuple(head_oddities(head, zero)),
    )


def _format_name(stream: AudioStream | VideoStream) -> str:
    if stream.codec_context is None:
        return ""
    if isinstance(stream, VideoStream):
        return stream.codec_context.pix_fmt or ""
    return stream.codec_context.format.name if stream.codec_context.format else ""
