"""Writing the files of a decode folder from extents and picks: which windows, with what content."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from corpus.ingest.extent import Extent
from corpus.ingest.pictures import Pick
from corpus.schemas.artifacts import (
    PICTURE_DTYPE,
    PICTURE_NONE,
    PICTURE_STALE,
    ChannelSpan,
    Segment,
)
from corpus.schemas.clock import US, WINDOW_US, samples_per_window, us_of_sample, whole_windows
from corpus.schemas.span import Span, subtract, union

_STALE_US = US
_COPY_BYTES = 1 << 20
_ZEROS = bytes(_COPY_BYTES)


def content(extents: Sequence[Extent], rate_hz: int, longest_gap_us: int) -> list[Span]:
    """The spans in which a channel has sound; gaps of up to the longest filled gap are closed."""
    spans = [
        Span(us_of_sample(e.start, rate_hz), us_of_sample(e.start + e.samples, rate_hz)) for e in extents
    ]
    return union(spans, bridge_us=longest_gap_us)


def segments_of(spans: Sequence[Span], duration_us: int, longest_gap_us: int) -> list[Segment]:
    """The windows to write: whole ones, except in stretches that are empty for too long.

    something   |####|                    |######|
    windows     |..|..|..|..|..|..|..|..|..|..|..|..      a window with something in it is written
    segments    [0        ,2)          [7          ,11)   the last partial one is not
    """
    last = whole_windows(duration_us)
    segments: list[Segment] = []
    stop = 0
    for span in union(spans, bridge_us=longest_gap_us):
        # Round outward, so that a window with any sound is written, and never write one twice.
        first, stop = max(span.start_us // WINDOW_US, stop), min(-(-span.stop_us // WINDOW_US), last)
        if segments and first <= segments[-1].first_window + segments[-1].windows:
            # Two stretches that meet within a window become one segment.
            first = segments.pop().first_window
        if first < stop:
            segments.append(Segment(first_window=first, windows=stop - first))
    return segments


def padded_spans(
    channel: int, extents: Sequence[Extent], segments: Sequence[Segment], rate_hz: int
) -> list[ChannelSpan]:
    """The spans in which a channel's file holds zeros that come from no source."""
    window = samples_per_window(rate_hz)
    written = [Span(s.first_window * window, (s.first_window + s.windows) * window) for s in segments]
    # In samples until the very end: microseconds of a 44.1 kHz source would not meet exactly.
    holes = subtract(written, [Span(e.start, e.start + e.samples) for e in extents])
    return [
        ChannelSpan(
            channel=channel,
            start_us=us_of_sample(hole.start_us, rate_hz),
            stop_us=us_of_sample(hole.stop_us, rate_hz),
        )
        for hole in holes
    ]


def write_channel(
    source: Path | None, extents: Sequence[Extent], segments: Sequence[Segment], rate_hz: int, out: Path
) -> None:
    """Write the samples of all segments one after another, with zeros where there is no extent."""
    window = samples_per_window(rate_hz)
    with out.open("wb") as target:
        for segment in segments:
            first = segment.first_window * window
            stop = first + segment.windows * window
            # `at` is the sample to be written next, `offset` where the extent begins in the source file.
            at, offset = first, 0
            for extent in extents:
                low, high = max(extent.start, first), min(extent.start + extent.samples, stop)
                if low < high and source is not None:
                    _zeros(target, 2 * (low - at))
                    _copy(source, 2 * (offset + low - extent.start), 2 * (high - low), target)
                    at = high
                offset += extent.samples
            _zeros(target, 2 * (stop - at))


def _zeros(target: BinaryIO, size: int) -> None:
    while size > 0:
        size -= target.write(_ZEROS[: min(size, _COPY_BYTES)])


def _copy(source: Path, offset: int, size: int, target: BinaryIO) -> None:
    with source.open("rb") as file:
        file.seek(offset)
        while size > 0:
            chunk = file.read(min(size, _COPY_BYTES))
            if not chunk:
                raise EOFError(f"{source.name} ends before its extents do")
            size -= target.write(chunk)


def write_pictures(
    source: Path | None, picks: Sequence[Pick], segments: Sequence[Segment], out: Path
) -> None:
    """Write `pictures.mjpeg`, one JPEG for each written window with a picture, and `pictures.npy`."""
    rows = np.zeros(sum(s.windows for s in segments), PICTURE_DTYPE)
    with (out / "pictures.mjpeg").open("wb") as target:
        if source is None:
            rows[:] = (-1, 0, -1, PICTURE_NONE)
        else:
            with source.open("rb") as jpegs:
                _fill(rows, jpegs, picks, segments, target)
    np.save(out / "pictures.npy", rows, allow_pickle=False)


def _fill(
    rows: np.ndarray[tuple[int], np.dtype[np.void]],
    jpegs: BinaryIO,
    picks: Sequence[Pick],
    segments: Sequence[Segment],
    target: BinaryIO,
) -> None:
    # Picks and windows both go forward, so each is looked at once; a picture of many windows is read once.
    at, offset, row = 0, 0, 0
    loaded, data = -1, b""
    for segment in segments:
        for window in range(segment.first_window, segment.first_window + segment.windows):
            while at < len(picks) and picks[at].stop_window <= window:
                at += 1
            if at == len(picks) or picks[at].first_window > window:
                rows[row] = (-1, 0, -1, PICTURE_NONE)
            else:
                pick = picks[at]
                if loaded != at:
                    jpegs.seek(pick.offset)
                    loaded, data = at, jpegs.read(pick.size)
                stale = (window + 1) * WINDOW_US - pick.time_us > _STALE_US
                rows[row] = (offset, pick.size, pick.time_us, PICTURE_STALE if stale else 0)
                offset += target.write(data)
            row += 1
