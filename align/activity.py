"""The channels' activity flags: who talks in each 25 ms frame, and which sound is unreliable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from corpus.schemas.activity import OVERLAP, PADDED, SEPARATED, SPEECH, UNRELIABLE
from corpus.schemas.arrays import UInt8Array
from corpus.schemas.artifacts import ChannelSpan, Decoded
from corpus.schemas.clock import FRAME_US, FRAMES_PER_WINDOW, WINDOW_US
from corpus.schemas.cover import Cover
from corpus.schemas.span import Span, intersect, subtract, union

BLOCK_WINDOWS = 3000
"""Windows processed at a time: ten minutes."""

Talk = Mapping[str, Sequence[Span]]


@dataclass(frozen=True, slots=True)
class _Channel:
    """What flags one output channel."""

    talk: Cover
    doubtful: Cover
    padded: Cover
    estimated: Cover


def write_activity(
    decoded: Decoded,
    talk: Talk,
    speakers: Sequence[str],
    source: Mapping[str, int] | None,
    path: Path,
    estimated: Talk | None = None,
) -> None:
    """Write uint8 flags [channels, written windows, frames] as `path`.

    `source` is each speaker's input channel, None if all share one; `estimated` marks where a speaker's sound
    is a separator's estimate.
    """
    if source is not None:
        channels = _own(decoded, talk, speakers, source)
    else:
        channels = _shared(decoded, talk, speakers, estimated or {})
    shape = (len(channels), decoded.windows, FRAMES_PER_WINDOW)
    if not decoded.windows:
        np.save(path, np.zeros(shape, np.uint8))
        return
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        start, at = file.tell(), 0
        for segment in decoded.segments:
            stop = segment.first_window + segment.windows
            for first in range(segment.first_window, stop, BLOCK_WINDOWS):
                windows = min(BLOCK_WINDOWS, stop - first)
                for channel, flags in enumerate(_block(channels, first, windows)):
                    # Written, not mapped: a disk that is full would end the process at a page.
                    file.seek(start + (channel * decoded.windows + at) * FRAMES_PER_WINDOW)
                    file.write(flags.tobytes())
                at += windows


def _block(channels: Sequence[_Channel], first_window: int, windows: int) -> UInt8Array:
    first, frames = first_window * FRAMES_PER_WINDOW, windows * FRAMES_PER_WINDOW
    at = (first * FRAME_US, frames, FRAME_US)
    speech = np.stack([channel.talk.fills_half(*at) for channel in channels])
    others = speech.sum(axis=0) - speech > 0
    doubtful = np.stack([channel.doubtful.of_frames(*at) > 0 for channel in channels])
    padded = np.stack([channel.padded.of_frames(*at) > 0 for channel in channels])
    estimated = np.stack([channel.estimated.of_frames(*at) > 0 for channel in channels])
    flags = speech * SPEECH + (speech & others) * OVERLAP + doubtful * UNRELIABLE + padded * PADDED
    flags = flags + estimated * SEPARATED
    shape = (len(channels), windows, FRAMES_PER_WINDOW)
    block: UInt8Array = flags.astype(np.uint8).reshape(shape)
    return block


def _shared(decoded: Decoded, talk: Talk, speakers: Sequence[str], estimated: Talk) -> list[_Channel]:
    """One input for all: overlapped sound is in the room, or estimated; what is left of it is the room's."""
    saturated = _spans(decoded.saturated, 0)
    padded = Cover.of(_spans(decoded.padded, 0) if decoded.channels else _everything(decoded))
    channels: list[_Channel] = []
    left: list[Span] = []
    for name in speakers:
        apart = estimated.get(name, ())
        in_room = subtract(intersect(talk[name], _others(talk, name)), apart)
        left += in_room
        channels.append(
            _Channel(Cover.of(talk[name]), Cover.of([*in_room, *saturated]), padded, Cover.of(union(apart)))
        )
    remainders = union(span for spans in estimated.values() for span in spans)
    room = _Channel(Cover.of([]), Cover.of([*left, *saturated]), padded, Cover.of(remainders))
    return [*channels, room]


def _own(decoded: Decoded, talk: Talk, speakers: Sequence[str], source: Mapping[str, int]) -> list[_Channel]:
    """An input each: only what the input lacks is flagged. The room is silent, padded where all are."""
    channels = [
        _Channel(
            Cover.of(talk[name]),
            Cover.of(_spans(decoded.saturated, source.get(name))),
            Cover.of(_spans(decoded.padded, source.get(name))),
            Cover.of([]),
        )
        for name in speakers
    ]
    everywhere = _spans(decoded.padded, 0)
    for channel in range(1, len(decoded.channels)):
        everywhere = intersect(everywhere, _spans(decoded.padded, channel))
    return [*channels, _Channel(Cover.of([]), Cover.of([]), Cover.of(everywhere), Cover.of([]))]


def _others(talk: Talk, name: str) -> list[Span]:
    return [span for other, spans in talk.items() if other != name for span in spans]


def _everything(decoded: Decoded) -> list[Span]:
    """A recording without sound is padded from end to end."""
    stop = max((s.first_window + s.windows for s in decoded.segments), default=0)
    return [Span(0, stop * WINDOW_US)]


def _spans(found: Sequence[ChannelSpan], channel: int | None) -> list[Span]:
    return [Span(span.start_us, span.stop_us) for span in found if span.channel == channel]
