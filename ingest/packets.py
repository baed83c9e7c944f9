"""The packets of a file as frames of its tracks; broken ones are counted and skipped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain

import av
from av.frame import Frame

from corpus.ingest.demux import Demuxer, Packet
from corpus.ingest.head import StreamHead
from corpus.ingest.lead import leave_out
from corpus.ingest.media import GROWING
from corpus.ingest.relay import Relay, Step
from corpus.schemas.recording import Oddity


@dataclass(slots=True)
class Read:
    """A packet and the frames decoded from it."""

    track: int
    """The track's name: its first stream."""
    stream: int
    frames: list[Frame]
    packet: Packet | None
    """None when a decoder is flushed."""
    failed: bool = False
    """It could not be decoded."""
    takes_over: bool = False
    """The stream begins to feed the track here."""
    restart: bool = False
    """Its clock is not that of the stream before."""
    decoded: int = 0
    """Frames of the packet, including those that an edit list hides."""
    joins: bool = False
    """An edit of the film begins here that does not continue the previous one."""


@dataclass(slots=True)
class Feed:
    """A file's tracks: the frames of the chosen streams and of those that continue them."""

    demuxer: Demuxer
    kinds: frozenset[str]
    """What is used of the file: sound, pictures or both."""
    seen: Callable[[int, Packet], None] = lambda stream, packet: None
    """Called with every packet that is read, used or not."""
    before: Callable[[int, Packet], None] = lambda track, packet: None
    """Called with each packet that is about to be decoded."""
    bad_packets: int = 0
    _begun: set[int] = field(default_factory=set)
    """Streams from which a packet was decoded."""
    _open: dict[int, int] = field(default_factory=dict)
    """Streams whose decoders hold frames, and their tracks."""

    def __iter__(self) -> Iterator[Read]:
        heads = self.demuxer.heads
        relays = {kind: self._relay(kind) for kind in sorted(self.kinds)}
        for reading, packets in enumerate(self.demuxer.readings()):
            for number in list(self._open) if reading else ():
                yield from self._empty(number)
            for cutter in self.demuxer.cutters.values() if reading else ():
                cutter.next_run()
            for number, packet in packets:
                self.seen(number, packet)
                head = heads.get(number)
                relay = None if head is None or not _usable(head) else relays.get(head.kind)
                if head is None or relay is None:
                    continue
                span_s = self._span_s(number, packet)
                for step in relay.take(number, packet, span_s, may_lead=not head.refused):
                    yield from self._step(step)
        # Streams that still wait get their turn before the decoders are emptied into their tracks.
        for step in chain.from_iterable(relay.finish() for relay in relays.values()):
            yield from self._step(step)
        for number in list(self._open):
            yield from self._empty(number)

    def _relay(self, kind: str) -> Relay:
        chosen = {
            n: h.met_at is not None for n, h in self.demuxer.heads.items() if h.kind == kind and h.chosen
        }
        # Only joined or growing files may start a clock over; elsewhere an early stamp is just wrong.
        joined = self.demuxer.reader.end.following is not None
        return Relay(chosen, may_restart=joined or self.demuxer.container.format.name in GROWING)

    def _span_s(self, number: int, packet: Packet) -> tuple[float, float] | None:
        """The time a packet covers, in seconds of its stream's clock."""
        # Decoding stamps rise from packet to packet; presentation stamps jump back with every B picture.
        stamp = packet.dts if packet.dts is not None else packet.pts
        if stamp is None:
            return None
        length, cutter = max(0, packet.duration or 0), self.demuxer.cutters.get(number)
        if cutter is not None:
            return cutter.reach_s(stamp, length)
        tick = float(self.demuxer.heads[number].tick)
        return stamp * tick, stamp * tick + length * tick

    def _step(self, step: Step) -> Iterator[Read]:
        if step.takes_over:
            yield from self._take_over(step)
        self._open[step.stream] = step.track
        self.before(step.track, step.packet)
        yield from self._decoded(step.track, step.stream, step.packet)

    def _take_over(self, step: Step) -> Iterator[Read]:
        if step.before is not None:
            for packet in self.demuxer.rest(step.before) if step.held_back else ():
                yield from self._decoded(step.track, step.before, packet)
            # The old decoder's last frames belong before the new stream's first.
            yield from self._empty(step.before)
        head = self.demuxer.heads[step.stream]
        head.chosen = head.joined = True
        head.refused = head.refused_code = ""
        stamps = (head.stream.start_time, step.packet.pts, step.packet.dts)
        # It was not in the head, so nobody has decoded a frame of it yet: believe its earliest stamp.
        head.first = next((stamp for stamp in stamps if stamp is not None), 0) * head.tick
        if head.edits is not None:
            head.first = head.edits.first_s(head.first, head.media_stop)
        yield Read(step.track, step.stream, [], None, takes_over=True, restart=step.restart)

    def _decoded(self, track: int, number: int, packet: Packet) -> Iterator[Read]:
        head = self.demuxer.heads[number]
        if number not in self._begun:
            self._begun.add(number)
            leave_out(packet, head.lead_samples)
        try:
            frames = list(head.decoder().decode(packet))
        except (av.FFmpegError, ValueError, MemoryError):
            self.bad_packets += 1
            yield Read(track, number, [], packet, failed=True)
            return
        cutter = self.demuxer.cutters.get(number)
        if cutter is None:
            yield Read(track, number, frames, packet, decoded=len(frames))
            return
        yield Read(track, number, [], packet, decoded=len(frames))
        for frame, joins in cutter.take(frames):
            yield Read(track, number, [frame], None, joins=joins)

    def _empty(self, number: int) -> Iterator[Read]:
        """Flush a decoder, which may be used again."""
        track = self._open.pop(number, None)
        head = self.demuxer.heads[number]
        if track is None or head.stream.codec_context is None:
            return
        context, frames = head.decoder(), list[Frame]()
        try:
            frames = list(context.decode(None))
        except av.EOFError:
            pass
        except (av.FFmpegError, ValueError, MemoryError):
            self.bad_packets += 1
        cutter = self.demuxer.cutters.get(number)
        if cutter is None:
            yield Read(track, number, frames, None)
        else:
            for frame, joins in chain(cutter.take(frames), cutter.finish()):
                yield Read(track, number, [frame], None, joins=joins)
        # An emptied decoder refuses packets until flushed, and the stream may come back.
        context.flush_buffers()

    def oddities(self) -> list[Oddity]:
        """What was broken."""
        oddities: list[Oddity] = []
        if self.bad_packets:
            detail = f"{self.bad_packets} packets could not be decoded"
            oddities.append(Oddity(code="corrupt_packets", detail=detail))
        if self.demuxer.log.read_errors:
            detail = f"the container was broken in {self.demuxer.log.read_errors} places"
            oddities.append(Oddity(code="read_errors", detail=detail))
        return oddities


def _usable(head: StreamHead) -> bool:
    # A stream of another programme may continue one that has ended, never begin a track.
    return not head.refused or head.refused_code == "other_programme"
