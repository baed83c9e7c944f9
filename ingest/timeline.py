"""The arithmetic of the audio clock: the position of each decoded block of sound. Pure integers.

A stream is anchored at its first time stamp and counted in samples. Per block, in order:

    stamp - count   within 5 ms                  jitter: moves nothing by itself
                    its median over 2 s
                    differs by over one tick     a correction, from the block where the median turns
                    over 5 ms forward            a hole: the count jumps
                    over 1/4 s backward          a restart: the stamps after it are shifted

A single wild stamp is neither a hole nor a restart: the stamps of the following half second must agree with
it.

Times are whole "units" of 1 / (sample rate * time base denominator) s, in which samples and stamps
are both integers.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

JITTER = Fraction(5, 1000)
RESTART = Fraction(1, 4)
_AGREE = Fraction(1, 2)
"""How much sound after a wild stamp must agree with it."""
_LONGEST_STALL = Fraction(10)
"""A jump is observed for at most this much sound."""
# Long enough for the median to ignore a burst of late packets, short enough to follow a drifting clock.
_HALF_MEDIAN = Fraction(1)
"""The median is taken over this much before and after a block: 2 s together."""

Move = Literal["start", "on", "correction", "hole", "restart"]


@dataclass(frozen=True, slots=True)
class Placement:
    """The position of a block of sound."""

    start: int
    """Time of its first sample, in units."""
    samples: int
    move: Move
    by: int = 0
    """How far the block was moved from the end of the previous one, in units."""


class Restarts:
    """The jumps backward of one file, the same for all its streams.

    The first stream to jump decides: it continues where the most advanced stream was, so that no sound
    of either part is lost. A stream's n-th jump is every stream's n-th jump.
    """

    def __init__(self) -> None:
        self._shifts = [Fraction(0)]
        self._stood: dict[int, tuple[int, int]] = {}

    def stand(self, stream: int, at: int, per_second: int) -> None:
        """Stream `stream` has reached `at / per_second` seconds. Called for every packet."""
        self._stood[stream] = (at, per_second)

    def shift(self, jumps: int) -> Fraction:
        """Seconds to add to stamps after so many jumps."""
        return self._shifts[jumps]

    @property
    def jumps(self) -> int:
        """How many jumps there were so far: a stream that begins now counts from there."""
        return len(self._shifts) - 1

    def jump(self, stream: int, jumps: int, stamp: Fraction) -> Fraction:
        """The shift after one more jump of `stream`, which then shows `stamp`."""
        if jumps + 1 == len(self._shifts):
            # The first to jump sets the shift; the others find it here at their own n-th jump.
            self._shifts.append(max((Fraction(*s) for s in self._stood.values()), default=stamp) - stamp)
        return self._shifts[jumps + 1]


@dataclass(slots=True)
class _Block:
    stamp: int | None
    samples: int
    start: int = 0
    move: Move = "on"
    departure: int | None = None
    by: int = 0


class AudioClock:
    """Places blocks in order of arrival. A block's position is known after 1.5 s more of sound, and after a
    jump forward that much later."""

    def __init__(
        self,
        rate_hz: int,
        tick: Fraction,
        restarts: Restarts | None = None,
        stream: int = 0,
        after: AudioClock | None = None,
        *,
        at: Fraction | None = None,
    ) -> None:
        """`after`: the clock, finished, of the sound that this one continues, and `at` the second at which
        it goes on counting; without it the first stamp is believed."""
        # In this unit one sample and one tick are both whole, so no rounding adds up over hours.
        self.units_per_second = rate_hz * tick.denominator
        self._sample = tick.denominator
        self._tick = tick.numerator * rate_hz
        self._jitter = max(int(JITTER * self.units_per_second), self._tick)
        self._restart = int(RESTART * self.units_per_second)
        self._agree = int(_AGREE * rate_hz)
        self._longest_stall = int(_LONGEST_STALL * rate_hz)
        self._half_median = int(_HALF_MEDIAN * self.units_per_second)
        self._restarts = restarts or Restarts()
        self._stream = stream
        self._jumps = 0
        self._shift = 0
        self._jumping = False
        self._waiting: deque[_Block] = deque()
        self._waiting_samples = 0
        self._at: int | None = None
        """Where the next block would stand by count alone, holes included, corrections not."""
        self._placed: deque[_Block] = deque()
        """Blocks whose holes are settled and whose median is not."""
        self._ahead: deque[_Block] = deque()
        """Those of them that are not yet in the median of the first."""
        self._behind: deque[_Block] = deque()
        """Those in the median, the oldest first."""
        self._departures: list[int] = []
        self._in_median_samples = 0
        self._correction = 0
        self._continues = after is not None
        if after is not None and after._at is not None:
            ratio = Fraction(self.units_per_second, after.units_per_second)
            self._shift = round(after._shift * ratio)
            self._jumps = after._jumps
            if at is not None:
                # A jump in the stamps at the change is reported as anywhere else.
                self._at = round(at * self.units_per_second)

    @property
    def shift(self) -> Fraction:
        """Seconds by which restarts have moved the stamps."""
        return Fraction(self._shift, self.units_per_second)

    def push(self, stamp: int | None, samples: int) -> list[Placement]:
        """Take the next block, with its stamp in ticks; returns the blocks settled by it."""
        units = None if stamp is None else stamp * self._tick
        self._watch(units)
        self._waiting.append(_Block(units, samples))
        self._waiting_samples += samples
        done: list[Placement] = []
        # A block is placed once enough sound after it has shown whether its stamp was a slip or a jump.
        while self._waiting_samples - self._waiting[0].samples >= self._needed():
            self._settle()
            done += self._take(finished=False)
        return done

    def _needed(self) -> int:
        """Samples that must wait behind the first block before it can be placed."""
        block = self._waiting[0]
        if self._at is None or block.stamp is None:
            return self._agree
        off = block.stamp + self._shift - self._at - self._correction
        return self._agree + (self._stall(off) if off > self._jitter else 0)

    def _stall(self, off: int) -> int:
        """Samples in a stall as long as a jump forward, as far as it is watched."""
        return min(off // self._sample, self._longest_stall)

    def finish(self) -> list[Placement]:
        """Return the blocks still unsettled after the last one."""
        done: list[Placement] = []
        while self._waiting:
            self._settle()
            done += self._take(finished=False)
        return done + self._take(finished=True)

    def _watch(self, stamp: int | None) -> None:
        """Publish how far this stream has got, unless it seems to jump back just here."""
        if self._at is None or self._jumping:
            return
        end = self._at + self._correction + self._waiting_samples * self._sample
        self._restarts.stand(self._stream, end, self.units_per_second)
        # Once it jumps, what waits belongs to the new part and must not count as progress in the old one.
        self._jumping = stamp is not None and stamp + self._shift - end < -self._restart

    # --- holes and restarts -------------------------------------------------------------------

    def _settle(self) -> None:
        block = self._waiting[0]
        if self._at is None:
            if not self._continues:
                self._jumps = self._restarts.jumps
                self._shift = round(self._restarts.shift(self._jumps) * self.units_per_second)
            self._at = (block.stamp or 0) + self._shift
            block.move = "start"
        elif block.stamp is not None:
            self._compare(block, block.stamp)
        if block.stamp is not None and block.departure is None and block.move in ("start", "hole", "restart"):
            # A block that moved the count enters the median with what the move left of its departure.
            block.departure = block.stamp + self._shift - self._at
        self._waiting.popleft()
        self._waiting_samples -= block.samples
        block.start = self._at
        self._at += block.samples * self._sample
        if not self._waiting:
            self._jumping = False
        self._placed.append(block)
        self._ahead.append(block)

    def _compare(self, block: _Block, stamp: int) -> None:
        """Compare a stamp with the count: set the block's departure, and move the count if it jumped."""
        assert self._at is not None
        off = stamp + self._shift - self._at - self._correction
        if off < -self._restart and self._agreed() < -self._restart:
            off = self._jump(block, stamp)
            self._jumping = False
        if off > self._jitter:
            # Packets held up and then sent at once catch up again: only what stays is a hole.
            hole = min(off, self._left(off))
            if hole > self._jitter:
                self._at += hole
                block.move, block.by = ("hole" if block.move == "on" else block.move), block.by + hole
                return
        # Only small departures enter the median: a jump that was not confirmed says nothing of the drift.
        if -self._restart <= off <= self._jitter:
            block.departure = off + self._correction

    def _jump(self, block: _Block, stamp: int) -> int:
        assert self._at is not None
        self._restarts.stand(self._stream, self._at + self._correction, self.units_per_second)
        shift = self._restarts.jump(self._stream, self._jumps, Fraction(stamp, self.units_per_second))
        self._jumps += 1
        self._shift = round(shift * self.units_per_second)
        block.move = "restart"
        return stamp + self._shift - self._at - self._correction

    def _agreed(self) -> int:
        """The median of stamp minus count over the half second from the first waiting block on."""
        offs = sorted(off for _, off in self._offs(self._agree))
        return offs[len(offs) // 2]

    def _left(self, off: int) -> int:
        """What is left of a jump forward after as much sound: the median over the half second then.

        A restart in that half second is ignored. If no stamp is that late, the last one counts.
        """
        stall = self._stall(off)
        known = [(at, o) for at, o in self._offs(stall + self._agree) if o >= -self._restart]
        after = sorted(o for at, o in known if at >= stall)
        if after:
            return after[(len(after) - 1) // 2]
        return known[-1][1] if known else off

    def _offs(self, last: int) -> list[tuple[int, int]]:
        """(samples behind the first waiting block, stamp minus count) of blocks that begin up to `last`."""
        assert self._at is not None
        # Holes and corrections so far are in the count, so an offset of 0 means that the stamp agrees.
        count, seen, offs = self._at + self._correction, 0, list[tuple[int, int]]()
        for block in self._waiting:
            if seen > last:
                break
            if block.stamp is not None:
                offs.append((seen, block.stamp + self._shift - count))
            count += block.samples * self._sample
            seen += block.samples
        return offs

    # --- the median over two seconds ----------------------------------------------------------

    def _take(self, *, finished: bool) -> list[Placement]:
        done: list[Placement] = []
        while self._placed and (
            finished or self._placed[-1].start - self._placed[0].start > self._half_median
        ):
            block = self._placed.popleft()
            self._slide(block.start)
            done.append(self._place(block))
        return done

    def _slide(self, middle: int) -> None:
        """Let the median cover the blocks that start within a second of `middle`."""
        while self._ahead and self._ahead[0].start <= middle + self._half_median:
            block = self._ahead.popleft()
            self._behind.append(block)
            self._in_median_samples += block.samples
            if block.departure is not None:
                insort(self._departures, block.departure)
        # The two deques and the sorted list slide together: O(log n) a block instead of a sort.
        while self._behind[0].start < middle - self._half_median:
            block = self._behind.popleft()
            self._in_median_samples -= block.samples
            if block.departure is not None:
                del self._departures[bisect_left(self._departures, block.departure)]

    def _place(self, block: _Block) -> Placement:
        move, by = block.move, block.by
        # At the ends, and in short pieces, there is too little sound to tell drift from jitter.
        enough = self._in_median_samples * self._sample >= self._half_median
        if self._departures and enough:
            # The lower median: a whole number of units that really occurred, not a mean of two.
            median = self._departures[(len(self._departures) - 1) // 2]
            if abs(median - self._correction) > self._tick:
                by += median - self._correction
                move = "correction" if move == "on" else move
                self._correction = median
        return Placement(block.start + self._correction, block.samples, move, by)
