"""What an edit list with joins shows of its track: frames stamped by the media, cut and stamped by the film.

    media  |aaaa|bbbbbbbb|cccccc|          a list: 2 s from b, 1 s of nothing, 1.5 s from c
    film   |bbbb|        |ccc|             sound is cut to the sample, a picture's time to the edit

Frames come in the order of the media. Where a list goes back in it, to show something twice or in another
order, the file is read again: a list falls into *runs*, each for one reading, at the same moments of the
film in all tracks. Times are whole units of 1 / `per_second` s.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import islice
from math import lcm

import av
import numpy as np
from av.frame import Frame as AnyFrame

from corpus.ingest.edits import Film, Track
from corpus.schemas.clock import US, round_half_up

MOST_RUNS = 16
"""Readings of one file."""
_LONGEST_S = 1_000_000
_MOST_PER_SECOND = 1 << 40
"""Of units: a stamp has 63 bits."""
_SLIP = Fraction(1, 50)
"""An edit that begins before the end of the one before by no more than this, and than two ticks of the film,
was rounded: nothing is read again for it."""

Frame = av.AudioFrame | av.VideoFrame


@dataclass(frozen=True, slots=True)
class Edit:
    """A part of the media on the film."""

    film: int
    media: int
    length: int

    @property
    def media_stop(self) -> int:
        return self.media + self.length

    @property
    def film_stop(self) -> int:
        return self.film + self.length

    def continues(self, before: Edit) -> bool:
        """It goes on where the edit before stopped, on the film and in the media."""
        return self.film == before.film_stop and self.media == before.media_stop


@dataclass(frozen=True, slots=True)
class EditList:
    """What a track shows, in order of the film."""

    per_second: int
    runs: tuple[tuple[Edit, ...], ...]
    joins: int = 0
    empty_s: float = 0.0
    """Behind its start."""
    other_speed_s: float = 0.0
    """Of parts at another speed than the media's, which are left empty."""
    left_out_s: float = 0.0
    """Of parts that would need still more readings, or stand absurdly late."""

    def first_s(self, media_s: Fraction, media_stop_s: Fraction | None) -> Fraction | None:
        """When the first of a track's media is shown, which begins at `media_s`; None for never."""
        start = round_half_up(media_s * self.per_second)
        for edit in (edit for run in self.runs for edit in run):
            begin = max(edit.media, start)
            beyond = media_stop_s is not None and begin >= media_stop_s * self.per_second
            if begin < edit.media_stop and not beyond:
                return Fraction(edit.film + begin - edit.media, self.per_second)
        return None

    def shown_s(self, media_start_s: Fraction, media_stop_s: Fraction) -> Fraction:
        """How much the list shows of a track's media, which lies between these two; all showings count."""
        start, stop = (round_half_up(at * self.per_second) for at in (media_start_s, media_stop_s))
        edits = (edit for run in self.runs for edit in run)
        shown = sum(max(0, min(e.media_stop, stop) - max(e.media, start)) for e in edits)
        return Fraction(shown, self.per_second)

    def end_s(self, media_stop_s: Fraction | None) -> Fraction:
        """When the last of a track's media, which ends at `media_stop_s`, has been shown."""
        stop = None if media_stop_s is None else round_half_up(media_stop_s * self.per_second)
        ends = [
            edit.film_stop if stop is None else edit.film + min(edit.length, stop - edit.media)
            for run in self.runs
            for edit in run
            if stop is None or edit.media < stop
        ]
        return Fraction(max(ends, default=0), self.per_second)


def edit_lists(film: Film, *, again: bool) -> dict[int, EditList]:
    """The lists of a film's tracks by their numbers; `again`: the file may be read several times."""
    parts = {track.number: _Parts(film, track) for track in film.tracks}
    # Every track is read anew where one goes back, so that all come along the film together.
    cuts = sorted({cut for part in parts.values() for cut in part.goes_back})
    runs = MOST_RUNS if again else 1
    return {number: part.list(cuts[: runs - 1], cuts[runs - 1 : runs]) for number, part in parts.items()}


class _Parts:
    """A track's list in units."""

    def __init__(self, film: Film, track: Track) -> None:
        units = lcm(film.movie_hz, track.media_hz)
        # A sample may begin between two units: none is longer than a microsecond.
        units *= -(-US // units)
        self.per_second = units if units <= _MOST_PER_SECOND else 10**9
        self.edits: list[Edit] = []
        self.empty = self.other_speed = self.left_out = 0
        if not track.entries:
            # Without a list the media is the film, and what stands before zero too.
            whole = _LONGEST_S * self.per_second
            self.edits = [Edit(-whole, -whole, 2 * whole)]
        at = 0
        for number, entry in enumerate(track.entries):
            start, at = at, at + entry.length
            film_start, film_stop = self._units(start, film.movie_hz), self._units(at, film.movie_hz)
            length = film_stop - film_start
            if film.fragmented and not entry.length and number == len(track.entries) - 1:
                length = _LONGEST_S * self.per_second
            if entry.empty:
                self.empty += length if self.edits else 0
            elif entry.speed != 1 << 16:
                self.other_speed += length
            elif film_start > _LONGEST_S * self.per_second:
                self.left_out += length
            elif length:
                media = self._units(entry.begin, track.media_hz)
                self.edits.append(Edit(film_start, media, min(length, _LONGEST_S * self.per_second)))
        self.goes_back = self._goes_back(self.per_second * min(Fraction(2, film.movie_hz), _SLIP))

    def _goes_back(self, slip: Fraction) -> list[Fraction]:
        """The moments of the film at which media is shown that has been read already."""
        moments, reached = list[Fraction](), None
        for edit in self.edits:
            if reached is not None and edit.media < reached - slip:
                moments.append(Fraction(edit.film, self.per_second))
                reached = edit.media_stop
            reached = edit.media_stop if reached is None else max(reached, edit.media_stop)
        return moments

    def _units(self, ticks: int, hz: int) -> int:
        return (2 * ticks * self.per_second + hz) // (2 * hz)

    def list(self, cuts: Sequence[Fraction], end: Sequence[Fraction]) -> EditList:
        """The list in runs that begin at the moments `cuts`; what begins at or behind `end` is left out."""
        stops = [round_half_up(cut * self.per_second) for cut in cuts]
        runs: list[list[Edit]] = [[] for _ in range(len(cuts) + 1)]
        left_out, last = self.left_out, round_half_up(end[0] * self.per_second) if end else None
        for edit in self.edits:
            if last is not None and edit.film_stop > last:
                left_out += edit.film_stop - max(edit.film, last)
                edit = Edit(edit.film, edit.media, last - edit.film)
            run = bisect_right(stops, edit.film)
            while edit.length > 0:
                here = min(edit.length, stops[run] - edit.film) if run < len(stops) else edit.length
                runs[run].append(Edit(edit.film, edit.media, here))
                edit = Edit(edit.film + here, edit.media + here, edit.length - here)
                run += 1
        return EditList(
            self.per_second,
            tuple(tuple(run) for run in runs),
            joins=max(0, len(self.edits) - 1),
            empty_s=self.empty / self.per_second,
            other_speed_s=self.other_speed / self.per_second,
            left_out_s=left_out / self.per_second,
        )


@dataclass(slots=True)
class _Stretch:
    """A frame and the media it stands for."""

    frame: Frame
    start: int
    stop: int


@dataclass(slots=True)
class Cutter:
    """Applies one track's list; a run at a time."""

    edits: EditList
    tick: Fraction
    """Of the media's stamps, in seconds."""
    _run: int = 0
    _at: int = 0
    """The edit of the run that is being shown, or will be."""
    _recent: deque[_Stretch] = field(default_factory=deque)
    """What the edit, or one behind it, may still show."""
    _used: int = 0
    """How many of them this edit has seen."""
    _held: _Stretch | None = None
    """A picture, which lasts until the next one."""
    _next: int = 0
    _shown: Edit | None = None

    _starts: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._starts = [edit.media for edit in self._edits]

    @property
    def _edits(self) -> tuple[Edit, ...]:
        return self.edits.runs[self._run] if self._run < len(self.edits.runs) else ()

    def next_run(self) -> None:
        """The file is read again."""
        self._run += 1
        self._at = self._used = self._next = 0
        self._recent.clear()
        self._held = None
        self._starts = [edit.media for edit in self._edits]

    def film_spans(self, stamp: int, length: int) -> list[tuple[int, int]]:
        """When a stretch of the media, in its ticks, is shown in this run, in units."""
        start, stop = self._units(stamp), self._units(stamp + length)
        spans: list[tuple[int, int]] = []
        first = max(0, bisect_right(self._starts, start) - 1)
        for edit in islice(self._edits, first, bisect_left(self._starts, stop)):
            begin, end = max(start, edit.media), min(stop, edit.media_stop)
            if begin < end:
                spans.append((edit.film + begin - edit.media, edit.film + end - edit.media))
        return spans

    def reach_s(self, stamp: int, length: int) -> tuple[float, float]:
        """How far the film has come when this stretch of the media has been read, in seconds."""
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

    def take(self, frames: Iterable[AnyFrame]) -> Iterator[tuple[Frame, bool]]:
        """The parts of the frames that are shown, by the film's stamps; whether each begins behind a join.

        A frame that is shown twice comes twice: each is to be used before the next is asked for.
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

    def finish(self) -> Iterator[tuple[Frame, bool]]:
        """The run's last picture."""
        if self._held is not None:
            self._held.stop = max(self._held.stop, self._held.start + 1)
            yield from self._show(self._held)
            self._held = None

    def _units(self, ticks: int) -> int:
        scale = self.tick.numerator * self.edits.per_second
        return (2 * ticks * scale + self.tick.denominator) // (2 * self.tick.denominator)

    def _show(self, new: _Stretch) -> Iterator[tuple[Frame, bool]]:
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

    def _cut(self, stretch: _Stretch, edit: Edit) -> Iterator[tuple[Frame, bool]]:
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
