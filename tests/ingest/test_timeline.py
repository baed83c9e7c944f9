"""The audio clock against a slow reference that has the whole stream before it, in exact fractions."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.ingest.timeline import AudioClock, Placement, Restarts

RATE = 1000
JITTER = Fraction(5, 1000)
BACK = Fraction(1, 4)


def place(
    blocks: list[tuple[int | None, int]], *, rate: int = RATE, tick: Fraction = Fraction(1, RATE)
) -> list[Placement]:
    clock = AudioClock(rate, tick)
    done = [p for stamp, samples in blocks for p in clock.push(stamp, samples)]
    return done + clock.finish()


def starts(
    blocks: list[tuple[int | None, int]], *, rate: int = RATE, tick: Fraction = Fraction(1, RATE)
) -> list[Fraction]:
    """Seconds of each block's first sample."""
    return [Fraction(p.start, rate * tick.denominator) for p in place(blocks, rate=rate, tick=tick)]


# --- the reference: definitions over the whole list, no state carried from block to block -----


@dataclass
class Reference:
    """Seconds throughout. `counted[j]`: where block j stands by count and holes alone."""

    blocks: list[tuple[int | None, int]]
    rate: int
    tick: Fraction

    def run(self) -> list[Fraction]:
        self.counted: list[Fraction] = []
        self.departures: list[Fraction | None] = []
        self.corrections: dict[int, Fraction] = {}
        self.shift = Fraction(0)
        for j in range(len(self.blocks)):
            self._count(j)
        total = len(self.blocks)
        return [self.counted[i] + self._correction(i, total) for i in range(total)]

    def _stamp(self, j: int) -> Fraction | None:
        stamp = self.blocks[j][0]
        return None if stamp is None else stamp * self.tick

    def _length(self, j: int) -> Fraction:
        return Fraction(self.blocks[j][1], self.rate)

    def _known(self, j: int) -> Fraction:
        """The correction known when block j is compared: of the last block over 1 s before j - 1."""
        ready = [i for i in range(j) if self.counted[j - 1] - self.counted[i] > 1]
        return self._correction(ready[-1], j) if ready else Fraction(0)

    def _correction(self, i: int, settled: int) -> Fraction:
        """The drift correction of block i, `settled` blocks having been counted so far."""
        if i < 0:
            return Fraction(0)
        if i in self.corrections:
            return self.corrections[i]
        before = self._correction(i - 1, settled)
        near = [m for m in range(settled) if abs(self.counted[m] - self.counted[i]) <= 1]
        values = sorted(d for m in near if (d := self.departures[m]) is not None)
        lasting = sum(self._length(m) for m in near) >= 1
        self.corrections[i] = before
        if values and lasting:
            median = values[(len(values) - 1) // 2]
            if abs(median - before) > self.tick:
                self.corrections[i] = median
        return self.corrections[i]

    def _offs(self, j: int, here: Fraction, last: Fraction) -> list[tuple[Fraction, Fraction]]:
        """(seconds of sound since block j, stamp minus count) of the blocks that start up to `last` later."""
        offs: list[tuple[Fraction, Fraction]] = []
        elapsed = Fraction(0)
        for m in range(j, len(self.blocks)):
            stamp = self._stamp(m)
            if stamp is not None and elapsed <= last:
                offs.append((elapsed, stamp + self.shift - here - elapsed))
            elapsed += self._length(m)
        return offs

    def _agreed(self, j: int, here: Fraction) -> Fraction:
        """Median of stamp minus count over the blocks that start in the half second from j on."""
        offs = sorted(off for _, off in self._offs(j, here, Fraction(1, 2)))
        return offs[len(offs) // 2]

    def _left(self, j: int, here: Fraction, off: Fraction) -> Fraction:
        """What a jump has come to once as much sound has passed, which is what a stall holds up."""
        stall = min(Fraction(off * self.rate // 1, self.rate), Fraction(10))
        offs = [x for x in self._offs(j, here, stall + Fraction(1, 2)) if x[1] >= -BACK]
        late = sorted(o for at, o in offs if at >= stall)
        if late:
            return late[(len(late) - 1) // 2]
        return offs[-1][1]

    def _count(self, j: int) -> None:
        stamp = self._stamp(j)
        if j == 0:
            self.counted.append(stamp if stamp is not None else Fraction(0))
            self.departures.append(None if stamp is None else Fraction(0))
            return
        at = self.counted[j - 1] + self._length(j - 1)
        known = self._known(j)
        departure: Fraction | None = None
        if stamp is not None:
            off = stamp + self.shift - at - known
            if off < -BACK and self._agreed(j, at + known) < -BACK:
                self.shift = at + known - stamp
                off = Fraction(0)
            hole = min(off, self._left(j, at + known, off)) if off > JITTER else Fraction(0)
            if hole > JITTER:
                at += hole
                departure = stamp + self.shift - at
            elif -BACK <= off <= JITTER:
                departure = off + known
        self.counted.append(at)
        self.departures.append(departure)


@st.composite
def streams(draw: st.DrawFn) -> list[tuple[int | None, int]]:
    """Blocks of 20 to 300 ms whose stamps jitter, step, leave holes, restart, are wild or missing."""
    blocks: list[tuple[int | None, int]] = []
    at = draw(st.integers(-3000, 3000))
    for _ in range(draw(st.integers(1, 40))):
        samples = draw(st.integers(20, 300))
        kind = draw(st.sampled_from("ooooooojjjshrwm"))
        if kind == "s":
            at += draw(st.integers(-5, 5))
        elif kind == "h":
            at += draw(st.integers(6, 4000))
        elif kind == "r":
            at -= draw(st.integers(251, 9000))
        stamp: int | None = at
        if kind == "j":
            stamp = at + draw(st.integers(-5, 5))
        elif kind == "w":
            stamp = at + draw(st.integers(-5000, 5000))
        elif kind == "m":
            stamp = None
        blocks.append((stamp, samples))
        at += samples
    return blocks


@settings(max_examples=300)
@given(streams())
def test_every_block_stands_where_the_reference_puts_it(blocks: list[tuple[int | None, int]]) -> None:
    assert starts(blocks) == Reference(blocks, RATE, Fraction(1, RATE)).run()


@settings(max_examples=200)
@given(streams())
def test_every_block_comes_back_once_in_order(blocks: list[tuple[int | None, int]]) -> None:
    assert [p.samples for p in place(blocks)] == [samples for _, samples in blocks]


@settings(max_examples=200)
@given(streams())
def test_a_move_is_told_exactly_where_and_by_how_much(blocks: list[tuple[int | None, int]]) -> None:
    placed = place(blocks)
    for before, after in pairwise(placed):
        assert after.start == before.start + before.samples * RATE + after.by
        assert (after.move == "on") <= (after.by == 0)


def steady(count: int, samples: int = 100) -> list[tuple[int | None, int]]:
    return [(n * samples, samples) for n in range(count)]


def test_five_milliseconds_of_jitter_move_nothing() -> None:
    blocks = [(n * 100 + (5, -5, 0, 4, -4)[n % 5] * (n > 0), 100) for n in range(60)]
    assert starts(blocks) == [Fraction(n, 10) for n in range(60)]


def test_a_jump_of_six_milliseconds_that_stays_is_a_hole() -> None:
    blocks = steady(20) + [(2006 + n * 100, 100) for n in range(20)]
    placed = place(blocks)
    assert [(p.move, p.by) for p in placed if p.move not in ("on", "start")] == [("hole", 6 * RATE)]
    assert placed[20].start == 2006 * RATE


def test_a_departure_of_one_tick_is_left_alone_and_of_two_is_corrected() -> None:
    for ticks, moved in ((1, 0), (2, 2), (-1, 0), (-2, -2)):
        blocks = steady(30) + [(3000 + ticks + n * 100, 100) for n in range(30)]
        assert starts(blocks)[30] == Fraction(3000 + moved, 1000), ticks
        assert starts(blocks)[29] == Fraction(2900, 1000)


def test_drift_is_followed_to_a_tick() -> None:
    # 1000 samples take 1002 ms: 0.2 ms per block of 100.
    blocks = [(round(n * 100.2), 100) for n in range(300)]
    for n, start in enumerate(starts(blocks)):
        assert abs(start - Fraction(1002 * n, 10_000)) <= Fraction(2, 1000), n


def test_one_wild_stamp_is_neither_hole_nor_restart() -> None:
    for wild in (5_000_000, -5_000_000, 3000, -3000):
        blocks = steady(30)
        blocks[15] = (1500 + wild, 100)
        assert starts(blocks) == [Fraction(n, 10) for n in range(30)]


def test_a_jump_back_by_a_quarter_second_is_no_restart_and_by_more_is_one() -> None:
    for back, move in ((250, {"correction"}), (251, {"restart"})):
        blocks = steady(30) + [(3000 - back + n * 100, 100) for n in range(30)]
        assert {p.move for p in place(blocks)} - {"on", "start"} == move


def test_a_restart_goes_on_where_the_stream_stood() -> None:
    assert starts(steady(30) + steady(30)) == [Fraction(n, 10) for n in range(60)]


def test_all_streams_restart_by_the_same_amount() -> None:
    restarts = Restarts()
    one, other = (
        AudioClock(RATE, Fraction(1, RATE), restarts, 0),
        AudioClock(RATE, Fraction(1, RATE), restarts, 1),
    )
    for n in range(30):
        one.push(n * 100, 100)
        other.push(n * 100 + 37, 100)
    placed: list[Placement] = []
    for n in range(30):
        one.push(n * 100, 100)
        placed += other.push(n * 100 + 37, 100)
    one.finish()
    placed += other.finish()
    # The other stands furthest, at 3.037 s; the first of the two to jump back shows 0 there.
    assert restarts.shift(1) == Fraction(3037, 1000)
    assert placed[-1].start == (3037 + 37 + 2900) * RATE


def test_missing_stamps_go_on_by_count() -> None:
    blocks: list[tuple[int | None, int]] = [(700, 100)] + [(None, 100)] * 30
    assert starts(blocks) == [Fraction(700 + 100 * n, 1000) for n in range(31)]


@pytest.mark.parametrize(
    "tick", [Fraction(1, 48_000), Fraction(1, 90_000), Fraction(1, 1000), Fraction(3, 125)]
)
def test_rounded_stamps_of_any_time_base_move_nothing(tick: Fraction) -> None:
    blocks = [(round(Fraction(n * 1024, 44_100) / tick), 1024) for n in range(400)]
    assert starts(blocks, rate=44_100, tick=tick) == [Fraction(n * 1024, 44_100) for n in range(400)]


def test_what_waits_is_bounded() -> None:
    clock = AudioClock(48_000, Fraction(1, 48_000))
    pushed = returned = 0
    for n in range(2000):
        pushed += 1024
        returned += sum(p.samples for p in clock.push(n * 1024, 1024))
        assert pushed - returned <= 1.6 * 48_000


def test_a_stall_without_loss_puts_no_silence_in() -> None:
    """Packets stamped when they arrived: held up for 0.3 s and for 3 s, then all at once."""
    for held in (15, 150):
        blocks: list[tuple[int | None, int]] = [(n * 20, 20) for n in range(400)]
        for n in range(100, 100 + held):
            blocks[n] = ((100 + held) * 20, 20)
        assert starts(blocks) == [Fraction(n * 20, RATE) for n in range(400)]


def test_a_stream_that_begins_after_a_restart_is_moved_like_the_others() -> None:
    restarts = Restarts()
    first = AudioClock(RATE, Fraction(1, RATE), restarts, 0)
    for n in range(60):
        first.push((n * 100) if n < 30 else (n - 30) * 100, 100)
    first.finish()
    assert restarts.jumps == 1 and restarts.shift(1) == 3
    late = AudioClock(RATE, Fraction(1, RATE), restarts, 1)
    placed = [p for n in range(20) for p in late.push(1000 + n * 100, 100)] + late.finish()
    assert [Fraction(p.start, late.units_per_second) for p in placed] == [
        4 + Fraction(n, 10) for n in range(20)
    ]


def test_a_new_rate_goes_on_where_the_old_one_ended() -> None:
    first = AudioClock(1000, Fraction(1, 1000))
    for n in range(100):
        first.push(n * 20, 20)
    first.finish()
    second = AudioClock(2000, Fraction(1, 1000), after=first, at=Fraction(2))
    placed = [p for n in range(100) for p in second.push(2000 + n * 20, 40)] + second.finish()
    assert [Fraction(p.start, second.units_per_second) for p in placed] == [
        2 + Fraction(n * 20, 1000) for n in range(100)
    ]
    again = AudioClock(500, Fraction(1, 1000), after=second, at=Fraction(4))
    placed = [p for n in range(100) for p in again.push(n * 20, 10)] + again.finish()
    assert placed[0].move == "restart"
    assert Fraction(placed[0].start, again.units_per_second) == 4
