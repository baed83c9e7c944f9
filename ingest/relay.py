"""Which streams feed a track: one after another, if a stream begins where the previous one ends.

    one kind     A |aaaaaaaaaaaa|              A ends, B begins there and goes on alone:
                 B             |bbbbbbbbb|     B continues A, and another may continue B
                 C      |ccccccccccc|          C ran beside A: another track, never taken

A stream has ended once another has advanced five seconds while it stood still, or at the end of the file.
Until then the other's packets wait.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from corpus.ingest.demux import Packet
from corpus.ingest.timeline import RESTART

_OVERLAP_S = 1.0
"""Streams that run side by side for longer are two tracks."""
ALONE_S = 5.0
_MOST_WAITING = 20_000
_MOST_WAITING_BYTES = 64 << 20


@dataclass(slots=True)
class _Leader:
    """The stream that feeds a track now."""

    track: int
    """The track's name: its first stream."""
    stream: int
    met: bool = True
    """The stream exists, perhaps only later: one that begins before it does not replace it."""
    end_s: float | None = None
    read_s: float = 0.0
    """How many seconds of it were read."""


@dataclass(slots=True)
class _Waiting:
    """A stream that may follow another."""

    first_s: float
    end_s: float
    read_before_s: dict[int, float]
    """How much of each track, and of each other waiting stream (as -1 - number), was read when it began."""
    packets: deque[Packet] = field(default_factory=deque)
    size: int = 0
    read_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Step:
    """A packet to be decoded for a track."""

    track: int
    stream: int
    packet: Packet
    takes_over: bool = False
    """The stream begins to feed the track here."""
    before: int | None = None
    """The stream that fed it until here."""
    restart: bool = False
    """Its clock is not that of the stream before."""
    held_back: bool = True
    """Part of the previous stream may not have been read yet."""


class Relay:
    """The streams of one kind in one file."""

    def __init__(self, leaders: Mapping[int, bool], *, may_restart: bool) -> None:
        """`leaders`: the chosen streams, and whether each was met near the start of the file; where there
        is none the first stream to come is one. `may_restart`: a stream of another clock may continue
        where one ended."""
        self._leaders = {stream: _Leader(stream, stream, met) for stream, met in leaders.items()}
        self._may_restart = may_restart
        self._waiting: dict[int, _Waiting] = {}
        self._beside: set[int] = set()
        """Streams that ran in parallel with one in use."""
        self._over: dict[int, float] = {}
        """Streams that were followed by others, and where they ended."""

    def take(
        self, stream: int, packet: Packet, span_s: tuple[float, float] | None, *, may_lead: bool
    ) -> Iterator[Step]:
        """Take the next packet of any stream of this kind; returns those to decode now.

        `span_s`: the time it covers; `may_lead`: it may become a track's first stream.
        """
        start_s, end_s = span_s or (None, None)
        leader = self._leaders.get(stream)
        if leader is not None:
            # A stream that comes back after a gap makes room for the one that filled it.
            between = self._between(leader, start_s)
            if between is not None:
                yield from self._join(between, self._waiting[between], held_back=False)
                self._hand_over(leader, stream)
            yield Step(leader.track, stream, packet, between is not None, between)
            self._come(leader, end_s)
        elif not self._leaders and may_lead:
            leader = self._leaders[stream] = _Leader(stream, stream)
            yield Step(stream, stream, packet, takes_over=True)
            self._come(leader, end_s)
        else:
            yield from self._wait(stream, packet, start_s, end_s)

    def _between(self, leader: _Leader, start_s: float | None) -> int | None:
        """A stream that fills a gap before the one in use returns at `start_s`."""
        if not self._waiting or start_s is None or leader.end_s is None:
            return None
        # It never left: nothing was bridged.
        if start_s < leader.end_s + _OVERLAP_S:
            return None
        fitting = (n for n, w in self._waiting.items() if w.end_s <= start_s + _OVERLAP_S)
        return next((n for n in fitting if self._follows(leader, self._waiting[n])), None)

    def _come(self, leader: _Leader, end_s: float | None) -> None:
        """A stream in use has reached `end_s`. If all in use advance, the waiting ones run in parallel."""
        if end_s is None:
            return
        leader.read_s += _step_s(leader.end_s, end_s)
        leader.end_s = end_s
        for number, waiting in list(self._waiting.items()):
            if not any(_stands(leader, waiting) for leader in self._leaders.values()):
                del self._waiting[number]
                self._beside.add(number)

    def _wait(
        self, stream: int, packet: Packet, start_s: float | None, end_s: float | None
    ) -> Iterator[Step]:
        if stream in self._beside:
            return
        waiting = self._waiting.get(stream)
        if waiting is None:
            # The last packet of a stream that is over often comes only at the end of the file.
            if start_s is None or end_s is None or end_s <= self._over.get(stream, start_s - 1):
                return
            read_s = {leader.track: leader.read_s for leader in self._leaders.values()}
            # Negative keys keep waiting streams apart from tracks, until `_join` makes a track of one.
            others = {-1 - number: other.read_s for number, other in self._waiting.items()}
            waiting = self._waiting[stream] = _Waiting(start_s, start_s, read_s | others)
        if end_s is not None:  # packets without a stamp wait with the others
            waiting.read_s += _step_s(waiting.end_s, end_s)
            waiting.end_s = end_s
        waiting.packets.append(packet)
        waiting.size += packet.size
        # Of a stream that is neither taken nor known to run beside another, not more than this is kept.
        full = len(waiting.packets) > _MOST_WAITING or waiting.size > _MOST_WAITING_BYTES
        if waiting.read_s >= ALONE_S or full:
            yield from self._join(stream, waiting)
        if full and stream in self._waiting:
            del self._waiting[stream]
            self._beside.add(stream)

    def finish(self) -> Iterator[Step]:
        """The file has ended: return the packets that still wait, in order of arrival."""
        for stream in list(self._waiting):
            yield from self._join(stream, self._waiting[stream])

    def _join(self, stream: int, waiting: _Waiting, *, held_back: bool = True) -> Iterator[Step]:
        leader = next((one for one in self._leaders.values() if self._follows(one, waiting)), None)
        if leader is None:
            return
        # A stream that begins well before the other's end can only be of another clock, as in joined files.
        before, end_s = leader.stream, leader.end_s
        restart = end_s is not None and waiting.first_s < end_s - RESTART
        del self._waiting[stream]
        # Those that began while this one waited are measured against it from here on.
        for other in self._waiting.values():
            if -1 - stream in other.read_before_s:
                other.read_before_s[leader.track] = leader.read_s + other.read_before_s[-1 - stream]
        # The waiting packets are now the track's; release them in order, the first one as the handover.
        leader.read_s += waiting.read_s
        self._hand_over(leader, stream)
        leader.end_s = waiting.end_s
        for number, packet in enumerate(waiting.packets):
            yield Step(leader.track, stream, packet, number == 0, before, restart, held_back)

    # The track keeps its name, its first stream; only the stream that feeds it changes.
    def _hand_over(self, leader: _Leader, stream: int) -> None:
        if leader.end_s is not None:
            self._over[leader.stream] = leader.end_s + _OVERLAP_S
        del self._leaders[leader.stream]
        self._leaders[stream] = leader
        leader.stream = stream

    def _follows(self, leader: _Leader, waiting: _Waiting) -> bool:
        """Whether the track's stream ended where this one begins."""
        # A chosen stream that never came (its head promised it) may be replaced by one that did.
        if leader.end_s is None:
            return not leader.met
        continues = waiting.first_s >= leader.end_s - _OVERLAP_S
        return _stands(leader, waiting) and (continues or self._may_restart)


def _stands(leader: _Leader, waiting: _Waiting) -> bool:
    """Whether little or nothing of the track has come since the other began."""
    return leader.read_s - waiting.read_before_s.get(leader.track, 0.0) <= _OVERLAP_S


def _step_s(end_s: float | None, now_s: float) -> float:
    """How much further a stream has advanced; a jump counts as one second at most."""
    return 0.0 if end_s is None else max(0.0, min(1.0, now_s - end_s))
