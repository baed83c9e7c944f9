"""The pictures of one stream in order of presentation: stamps made sound, observers told, picks made."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Protocol

import av

from corpus.ingest.pictures import PicturePicker
from corpus.ingest.timeline import Restarts
from corpus.schemas.clock import US, round_half_up

LEAP = Fraction(1)
"""A jump backward by more is a restart; a jump forward by more must be confirmed by the next stamp."""


class FrameObserver(Protocol):
    """Sees every video frame at full rate, in order of presentation."""

    def __call__(self, frame: av.VideoFrame, time_us: int) -> None: ...


class PictureTrack:
    """Takes a stream's frames as the decoder gives them."""

    def __init__(
        self,
        picker: PicturePicker,
        observers: Sequence[FrameObserver],
        *,
        zero: Fraction,
        nominal: Fraction,
        aspect: Fraction,
        longest_gap_us: int,
        restarts: Restarts,
        stream: int,
    ) -> None:
        """`zero`: the stream's time that is the recording's zero; `nominal`: usual seconds per frame."""
        self._picker = picker
        self._observers = observers
        self._zero = zero
        self._nominal = nominal
        self._aspect = aspect
        self._longest_gap_us = longest_gap_us
        self._restarts = restarts
        self._stream = stream
        self._jumps = 0
        self._shift = Fraction(0)
        self._waiting: tuple[av.VideoFrame, Fraction | None] | None = None
        self._last: Fraction | None = None
        self._last_us = 0
        self._last_duration = Fraction(0)
        self.first_us: int | None = None
        self.end_us = 0
        self.frames = 0
        self.spans_us: list[list[int]] = []
        """Where there are pictures; gaps of up to the longest filled gap are closed."""
        self.out_of_order = 0
        self.wild_stamps = 0
        self.before_zero = 0
        self.restarts_us: list[int] = []
        self.holes_us: list[tuple[int, int]] = []
        """(start, stop) without a new picture for over a second, the first hundred."""

    def push(self, frame: av.VideoFrame, tick: Fraction) -> None:
        """Take the next decoded frame. One frame waits, until the stamp after it is seen."""
        stamp = frame.pts if frame.pts is not None else frame.dts
        time = None if stamp is None else stamp * tick
        if self._waiting is not None:
            self._settle(*self._waiting, time, tick)
        self._waiting = (frame, time)

    def finish(self, tick: Fraction) -> None:
        """The stream has ended: the last picture is shown for its own duration."""
        if self._waiting is not None:
            self._settle(*self._waiting, None, tick)
            self._waiting = None
        self._picker.finish(self.end_us)

    def _settle(
        self, frame: av.VideoFrame, stamp: Fraction | None, following: Fraction | None, tick: Fraction
    ) -> None:
        time = self._time(stamp, following)
        if self._last is not None and time < self._last:
            self.out_of_order += 1
            return
        duration = frame.duration * tick
        longest = Fraction(self._longest_gap_us, US)
        self._last_duration = duration if 0 < duration <= longest else self._nominal
        self._last = time
        self._restarts.stand(self._stream, time + self._last_duration)
        time_us = round_half_up((time - self._zero) * US)
        if time_us < 0:
            self.before_zero += 1
            time_us = 0
        self._cover(time_us)
        for observer in self._observers:
            observer(frame, time_us)
        self._picker.push(frame, time_us, self._aspect)

    def _time(self, stamp: Fraction | None, following: Fraction | None) -> Fraction:
        """A frame's time after restarts, in the stream's seconds; a wild stamp goes on by duration."""
        if self._last is None:
            return stamp if stamp is not None else Fraction(0)
        by_count = self._last + self._last_duration
        if stamp is None:
            return by_count
        time = stamp + self._shift
        confirmed = following is None or abs(following - stamp) <= LEAP
        back_again = following is not None and abs(following + self._shift - by_count) <= LEAP
        if time < self._last - LEAP and (confirmed or not back_again):
            self._shift = self._restarts.jump(self._stream, self._jumps, stamp)
            self._jumps += 1
            time = stamp + self._shift
            self.restarts_us.append(round_half_up((time - self._zero) * US))
            # Another stream decided the shift: this one may overlap its own end by a little.
            return max(time, self._last)
        if abs(time - by_count) > LEAP and back_again and not confirmed:
            self.wild_stamps += 1
            return by_count
        return time

    def _cover(self, time_us: int) -> None:
        self.frames += 1
        if self.first_us is None:
            self.first_us = time_us
        elif time_us - self._last_us > US and len(self.holes_us) < 100:
            self.holes_us.append((self._last_us, time_us))
        self._last_us = time_us
        self.end_us = max(self.end_us, time_us + round_half_up(self._last_duration * US))
        # A picture counts as something for a second at most: after that it is stale.
        stop_us = time_us + round_half_up(min(self._last_duration, LEAP) * US)
        if self.spans_us and time_us - self.spans_us[-1][1] <= self._longest_gap_us:
            self.spans_us[-1][1] = max(self.spans_us[-1][1], stop_us)
        else:
            self.spans_us.append([time_us, stop_us])
