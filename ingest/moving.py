"""The pictures of one stream in order of presentation: stamps repaired, observers called, pictures picked."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import lcm
from typing import Protocol

import av
from av.stream import Stream

from corpus.ingest.clocks import PresentationOrder, StreamClock, decode_order, unstamped
from corpus.ingest.timeline import RESTART
from corpus.schemas.clock import US

_LONGEST_PICTURE_US = 3600 * US
"""A picture with a longer duration is followed by a hole: a wrong number must not fill the disk."""
_LEAP = Fraction(1)
"""A larger jump forward must be confirmed by the next stamp."""


class FrameObserver(Protocol):
    """Sees every video frame at full rate, in order of presentation."""

    def __call__(self, frame: av.VideoFrame, time_us: int) -> None: ...


class Picker(Protocol):
    """Keeps the frames that are needed."""

    def push(self, frame: av.VideoFrame, time_us: int, aspect: Fraction) -> None: ...

    def pause(self, end_us: int) -> None: ...

    def finish(self, end_us: int) -> None: ...

    def close(self) -> None: ...


class PictureTrack:
    """Consumes a stream's frames as the decoder gives them."""

    def __init__(
        self,
        picker: Picker,
        observers: Sequence[FrameObserver],
        clock: StreamClock,
        *,
        nominal: Fraction,
        longest_gap_us: int,
    ) -> None:
        """`nominal`: usual seconds per frame."""
        self._order = PresentationOrder() if decode_order(clock.container) else None
        self._unstamped = unstamped(clock.container)
        tick, zero = clock.tick, clock.zero
        self._picker = picker
        self._observers = observers
        # Times are whole units in which stamps and zero are exact, and microseconds nearly so.
        self._per_second = lcm(tick.denominator, zero.denominator, US)
        self._tick = tick * self._per_second
        self._zero = int(zero * self._per_second)
        self._leap = int(_LEAP * self._per_second)
        self._back = int(RESTART * self._per_second)
        self._nominal = round(nominal * self._per_second)
        self._longest = longest_gap_us * self._per_second // US
        self._longest_gap_us = longest_gap_us
        self._restarts = clock.restarts
        self.stream = clock.stream
        self._jumps = 0
        self._shift = 0
        self._waiting: tuple[av.VideoFrame, int | None, int, Fraction] | None = None
        self._last: int | None = None
        self._last_us = 0
        self._last_duration = 0
        self._said_us = 0
        """How long the last picture says it lasts."""
        self._before_us = 0
        """The same of the one that was covered last."""
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

    def sent(self, packet: av.Packet[Stream]) -> None:
        """A packet is about to be decoded."""
        if self._order is not None and packet.size:
            self._order.sent(packet.dts if packet.dts is not None else packet.pts)

    def lost(self, packet: av.Packet[Stream]) -> None:
        """The packet could not be decoded."""
        if self._order is not None:
            self._order.lost(packet.dts if packet.dts is not None else packet.pts)

    def _stamp(self, frame: av.VideoFrame) -> int | None:
        if self._unstamped:
            return None
        if self._order is not None:
            return self._order.next()
        return frame.pts if frame.pts is not None else frame.dts

    def push(self, frame: av.VideoFrame, aspect: Fraction) -> None:
        """Take the next decoded frame, `aspect` the shape of its pixels. One frame waits, until the stamp
        after it is seen."""
        stamp = self._stamp(frame)
        time = None if stamp is None else round(stamp * self._tick)
        if self._waiting is not None:
            self._settle(*self._waiting, time)
        # Its length is read now: an edit list may show the same frame again, for another time.
        self._waiting = (frame, time, round(frame.duration * self._tick), aspect)

    def join(self, tick: Fraction, nominal: Fraction) -> None:
        """Frames now come from another stream, which continues where this one ended."""
        self._settle_last()
        self._tick = tick * self._per_second
        self._nominal = round(nominal * self._per_second)

    def pause(self) -> None:
        """Show the last picture no longer than its duration; then there is none until the next."""
        self._settle_last()
        self._picker.pause(self._last_us + self._said_us)

    def finish(self) -> None:
        """The stream has ended: the last picture is shown for its own duration."""
        self._settle_last()
        self._picker.finish(self.end_us)

    def _settle_last(self) -> None:
        if self._waiting is not None:
            self._settle(*self._waiting, None)
            self._waiting = None

    def close(self) -> None:
        """Close the file, even if decoding was aborted."""
        self._picker.close()

    def _us(self, time: int) -> int:
        """Microseconds, rounded half up."""
        return (2 * US * time + self._per_second) // (2 * self._per_second)

    def _settle(
        self,
        frame: av.VideoFrame,
        stamp: int | None,
        duration: int,
        aspect: Fraction,
        following: int | None,
    ) -> None:
        # A track keeps to the order of presentation: a frame from before the last one has missed its window.
        time = self._time(stamp, following)
        if self._last is not None and time < self._last:
            self.out_of_order += 1
            return
        self._said_us = min(self._us(duration), _LONGEST_PICTURE_US) if duration > 0 else 0
        # An absurd duration would become the length of a frame without a stamp: take the usual one.
        self._last_duration = duration if 0 < duration <= self._longest else self._nominal
        self._last = time
        self._restarts.stand(self.stream, time + self._last_duration, self._per_second)
        time_us = self._us(time - self._zero)
        if time_us < 0:
            self.before_zero += 1
            time_us = 0
        self._cover(time_us)
        for observer in self._observers:
            observer(frame, time_us)
        self._picker.push(frame, time_us, aspect)

    def _time(self, stamp: int | None, following: int | None) -> int:
        """A frame's time after restarts; a wild stamp is replaced by the count of durations."""
        if self._last is None:
            self._jumps = self._restarts.jumps
            self._shift = round(self._restarts.shift(self._jumps) * self._per_second)
            return (stamp if stamp is not None else 0) + self._shift
        by_count = self._last + self._last_duration
        if stamp is None:
            return by_count
        time = stamp + self._shift
        # Near where it was expected: the usual case.
        if -self._back <= time - by_count <= self._leap:
            return time
        # Otherwise the next stamp decides: it agrees with this one, or it is back where it should be.
        confirmed = following is None or abs(following - stamp) <= self._leap
        back_again = following is not None and -self._back <= following + self._shift - by_count <= self._leap
        if back_again and not confirmed:
            self.wild_stamps += 1
            return by_count
        if time < self._last - self._back:
            return self._restart(stamp, self._last)
        return time

    def _restart(self, stamp: int, last: int) -> int:
        shift = self._restarts.jump(self.stream, self._jumps, Fraction(stamp, self._per_second))
        self._jumps += 1
        self._shift = round(shift * self._per_second)
        # Where another stream decided the shift, the new part may overlap this one's end a little.
        time = max(stamp + self._shift, last)
        self.restarts_us.append(self._us(time - self._zero))
        return time

    def _cover(self, time_us: int) -> None:
        self.frames += 1
        if self.first_us is None:
            self.first_us = time_us
        elif time_us - self._last_us > US and len(self.holes_us) < 100:
            self.holes_us.append((self._last_us, time_us))
        if self.spans_us:
            # The picture before lasts as long as it says, and no longer than until this one.
            until_us = min(time_us, self._last_us + self._before_us)
            self.spans_us[-1][1] = max(self.spans_us[-1][1], until_us)
        self._before_us = self._said_us
        self._last_us = time_us
        duration_us = self._us(self._last_duration)
        self.end_us = max(self.end_us, time_us + duration_us)
        # A picture counts as something for a second at most: after that it is stale.
        stop_us = time_us + min(duration_us, US)
        if self.spans_us and time_us - self.spans_us[-1][1] <= self._longest_gap_us:
            self.spans_us[-1][1] = max(self.spans_us[-1][1], stop_us)
        else:
            self.spans_us.append([time_us, stop_us])
