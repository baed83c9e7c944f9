"""Cutting frames by a track's edit list, and changing their stamps from the media's to the film's."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import islice

import av
import numpy as np
from av.frame import Frame as AnyFrame

from corpus.ingest.film import Edit, EditList
from corpus.schemas.clock import round_half_up

_Frame = av.AudioFrame | av.VideoFrame


@dataclass(slots=True)
class _Stretch:
    """A frame and the stretch of media it covers."""

    frame: _Frame
    start: int
    stop: int


@dataclass(slots=True)
class Cutter:
    """Applies one track's edit list, one run at a time."""

    edits: EditList
    tick: Fraction
    """Unit of the media's stamps, in seconds."""
    _run: int = 0
    _at: int = 0
    """The edit of the run that is shown now or next."""
    _recent: deque[_Stretch] = field(default_factory=deque)
    """Stretches that this edit, or a later one, may still show."""
    _used: int = 0
    """How many of them this edit has examined."""
    _held: _Stretch | None = None
    """A picture that lasts until the next one."""
    _next: int = 0
    _shown: Edit | None = None

    _starts: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._starts = [edit.media for edit in self._edits]

    @property
    def _edits(self) -> tuple[Edit, ...]:
        return self.edits.runs[self._run] if self._run < len(self.edits.runs) else ()

    def next_run(self) -> None:
        """Begin the next reading of the file."""
        self._run += 1
        self._at = self._used = self._next = 0
        self._recent.clear()
        self._held = None
        self._starts = [edit.media for edit in self._edits]

    def film_spans(self, stamp: int, length: int) -> list[tuple[int, int]]:
        """When a stretch of the media (in its ticks) is shown in this run, in units."""
        start, stop = self._units(stamp), self._units(stamp + length)
        spans: list[tuple[int, int]] = []
        first = max(0, bisect_right(self._starts, start) - 1)
        for edit in islice(self._edits, first, bisect_left(self._starts, stop)):
            begin, end = max(start, edit.media), min(stop, edit.media_stop)
            if begin < end:
                spans.append((edit.film + begin - edit.media, edit.film + end - edit.media))
        return spans

    def reach_s(self, stamp: int, length: int) -> tuple[float, float]:
        """How far the film has got once this stretch of the media has been read, in seconds."""
        spans, per_second = self.film_spans(stamp, length), self.edits.per_second
        if spans:
            return spans[0][0] / per_second, spans[-1][1] / per_second
        # Hidden: it leads up to the edit behind it.
        behind = bisect_right(self._starts, self._units(stamp))
        if behind < len(self._edits):
            at = self._edits[behind].film
        else:
            at = self._edits[-1].film_stop if self._edits else 0
        return at / per_second, at / per_second

    def take(self, frames: Iterable[AnyFrame]) -> Iterator[tuple[_Frame, bool]]:
        """The displayed parts of the frames with the film's stamps, and whether each begins after a join.

        A frame that is shown twice is returned twice: use each before requesting the next.
        """
        for frame in frames:
            if not isinstance(frame, (av.AudioFrame, av.VideoFrame)):
                continue
            start = self._next if frame.pts is None else self._units(frame.pts)
            if isinstance(frame, av.AudioFrame):
                self._next = start + frame.samples * self.edits.per_second // max(1, frame.sample_rate)
                yield from self._show(_Stretch(frame, start, self._next))
                continue
            self._next = start + self._units(max(0, frame.duration))
            held, self._held = self._held, _Stretch(frame, start, self._next)
            # A picture from before the last one has missed its time.
            if held is not None and start < held.start:
                self._held = held
            elif held is not None:
                held.stop = start
                yield from self._show(held)

    def finish(self) -> Iterator[tuple[_Frame, bool]]:
        """The run's last picture."""
        if self._held is not None:
            self._held.stop = max(self._held.stop, self._held.start + 1)
            yield from self._show(self._held)
            self._held = None

    def _units(self, ticks: int) -> int:
        scale = self.tick.numerator * self.edits.per_second
        return (2 * ticks * scale + self.tick.denominator) // (2 * self.tick.denominator)

    def _show(self, new: _Stretch) -> Iterator[tuple[_Frame, bool]]:
        self._recent.append(new)
        while self._at < len(self._edits):
            edit = self._edits[self._at]
            while self._used < len(self._recent):
                stretch = self._recent[self._used]
                self._used += 1
                yield from self._cut(stretch, edit)
            if new.stop < edit.media_stop:
                break
            self._at, self._used = self._at + 1, 0
        # Of what this edit has seen, the one behind may begin a little before its end.
        following = self._starts[self._at + 1] if self._at + 1 < len(self._starts) else None
        while self._recent and (following is None or self._recent[0].stop <= following):
            self._recent.popleft()
            self._used = max(0, self._used - 1)

    def _cut(self, stretch: _Stretch, edit: Edit) -> Iterator[tuple[_Frame, bool]]:
        begin, end = max(stretch.start, edit.media), min(stretch.stop, edit.media_stop)
        if begin >= end:
            return
        frame = stretch.frame
        if isinstance(frame, av.AudioFrame):
            # A sample belongs to the edit in which it begins.
            first = -((stretch.start - begin) * frame.sample_rate // self.edits.per_second)
            stop = -((stretch.start - end) * frame.sample_rate // self.edits.per_second)
            stop = frame.samples if end == stretch.stop else min(stop, frame.samples)
            if first >= stop:
                return
            begin = stretch.start + round_half_up(Fraction(first * self.edits.per_second, frame.sample_rate))
            frame = _samples(frame, first, stop)
        else:
            frame.duration = end - begin
        frame.pts = edit.film + begin - edit.media
        joins = self._shown is not None and edit != self._shown and not edit.continues(self._shown)
        self._shown = edit
        yield frame, joins


def _samples(frame: av.AudioFrame, first: int, stop: int) -> av.AudioFrame:
    """Some samples of a frame."""
    if (first, stop) == (0, frame.samples):
        return frame
    part = av.AudioFrame(frame.format, frame.layout, stop - first)
    part.sample_rate = frame.sample_rate
    size = frame.format.bytes * (1 if frame.format.is_planar else frame.layout.nb_channels)
    for old, new in zip(frame.planes, part.planes, strict=True):
        kept = np.frombuffer(old, np.uint8)[first * size : stop * size]  # type: ignore[call-overload]
        np.frombuffer(new, np.uint8)[: len(kept)] = kept  # type: ignore[call-overload]
    return part
