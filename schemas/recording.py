"""Where a recording comes from: its files, streams, licence and consent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Oddity:
    """Something unusual about a stream or file that a careful reader would want to know."""

    code: str
    """Stable short name: variable_frame_rate, start_offset, hole, drift, restart, rotated, …"""
    detail: str
    """A sentence with the figures."""
    start_us: int | None = None
    stop_us: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """One audio or video stream of a file."""

    kind: Literal["audio", "video"]
    index: int
    """Position among all streams of its file."""
    file: int
    """Position of its file in `Recording.files`."""
    codec: str
    rate: str
    """Audio: samples per second. Video: average frames per second. An exact fraction, `30000/1001`."""
    offset_us: int
    """First presentation time minus the recording's zero, as a player presents it."""
    duration_us: int
    """From the first presentation time to the end of the last frame or sample."""
    channels: int = 0
    """Audio channels; 0 for video."""
    width: int = 0
    """Displayed width in pixels, rotation applied; 0 for audio."""
    height: int = 0
    rotation_degrees: int = 0
    chosen: bool = True
    """False for a stream that is listed but not used (a second track, cover art)."""
    oddities: tuple[Oddity, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """One media file of a recording."""

    uri: str
    """As in the manifest, otherwise the path relative to the given input; never a path of the machine."""
    sha256: str
    bytes: int
    speaker: str | None = None
    """Who speaks in it, if the recording has one file per speaker."""
    offset_us: int = 0
    """Its zero on the recording's clock, before the earliest file is moved to zero."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """One media item, or several that share a clock: content hash, streams, licence, consent, origin."""

    hash: str
    """64 hex digits: the sha256 of a single file, or of the list of files, speakers and offsets."""
    uri: str
    files: tuple[SourceFile, ...]
    streams: tuple[Stream, ...]
    duration_us: int
    """The end of the longest chosen stream, on a clock whose zero is their earliest presentation."""
    licence: str | None = None
    consent: str | None = None
    conversation: str | None = None
    """Recordings of one conversation are never divided by a split."""
    speakers: tuple[str, ...] = ()
    """Names confirmed by the manifest or a conversation file; only these bind recordings in a split."""
    oddities: tuple[Oddity, ...] = ()
