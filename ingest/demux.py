"""All packets of a file, including those of streams that begin in mid-file.

libav finds such a stream while reading, but PyAV only knows those in the file's head. So when the number of
streams grows, the file is opened again from there, and both readers' packets are merged by byte position.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import av
from av.container import InputContainer
from av.stream import Stream

from corpus.ingest.cutter import Cutter
from corpus.ingest.head import StreamHead, stream_heads, taken_programme
from corpus.ingest.media import GROWING, Part, Reader, open_read, stream_count
from corpus.schemas.errors import MediaError

Packet: TypeAlias = "av.Packet[Stream]"

_PREFIXES = {"flv": b"FLV\1\5\0\0\0\11\0\0\0\0", "live_flv": b"FLV\1\5\0\0\0\11\0\0\0\0"}
"""The header that lets libav open a file from its middle."""
_PACKETISED = frozenset(("mpegts", "mpeg"))
"""Containers in which a stream's last packet is complete only when another begins or the file ends."""
_REST_BYTES = 4 << 20
"""A table that names the stream lies within this distance before its last packet."""
# Seconds of stamps that a decoder may still owe; anything later is another part of the file.
_REST_S = 1
_MOST_DEMUXERS = 16
_MOST_FILES = 200
"""Files joined byte by byte; all stay open."""
_MOST_READ_ERRORS = 100
"""Reading stops at a file that breaks more often than this."""


@dataclass(slots=True)
class _ReadLog:
    """The course of a reading."""

    read_errors: int = 0
    cut_off: bool = False
    """Reading ended with an error rather than with the end of the file."""


def _read_packets(container: InputContainer, log: _ReadLog, where: str) -> Iterator[Packet]:
    """The packets of a container to its end; broken ones are counted and skipped."""
    reader, progress = container.demux(), True
    while True:
        try:
            packet = next(reader)
        except (StopIteration, IndexError):
            # IndexError: a stream has appeared that was not in the header, and PyAV trips over it.
            return
        except av.FFmpegError:
            log.read_errors += 1
            if not progress or log.read_errors > _MOST_READ_ERRORS:
                log.cut_off = True
                return
            # A generator that has raised is finished: start another. Two errors in a row mean no progress.
            progress, reader = False, container.demux()
            continue
        except OSError as error:
            raise MediaError(f"cannot be read to its end: {error.strerror or error}", where=where) from error
        progress = True
        if packet.size or packet.pts is not None or packet.dts is not None:  # else it empties a decoder
            yield packet


@dataclass(slots=True)
class _Second:
    """The file opened again, from its middle."""

    container: InputContainer
    reader: Reader
    numbers: dict[int, int]
    """Its streams that are not in the head, and the numbers they get here."""
    packets: Iterator[Packet]
    ahead: Packet | None = None
    at: int = 0
    """The byte of the file up to which its packets have been returned."""

    def until(self, place: int | None) -> Iterator[tuple[int, Packet, int]]:
        """Its packets that begin at or before `place`."""
        while place is None or self.at <= place:
            if self.ahead is not None and self.ahead.stream.index in self.numbers:
                yield self.numbers[self.ahead.stream.index], self.ahead, self.at
            self.ahead = next(self.packets, None)
            if self.ahead is None:
                self.at = 1 << 62
                return
            # Packets without a position belong to the byte of the one before; the order never runs backward.
            if self.ahead.pos is not None:
                self.at = max(self.at, self.reader.place(self.ahead.pos))


@dataclass(slots=True)
class Demuxer:
    """A file as its packets, each with the number of its stream."""

    path: Path
    container: InputContainer
    reader: Reader
    heads: dict[int, StreamHead]
    """Its audio and video streams; those that begin later are added."""
    opened: ExitStack
    """Closes everything opened here; the streams are valid until then."""
    log: _ReadLog = field(default_factory=_ReadLog)
    streams: dict[int, Stream] = field(default_factory=dict)
    """All streams, of whatever kind, by number."""
    unread: int = 0
    """Streams that begin in mid-file and could not be read."""
    cutters: dict[int, Cutter] = field(default_factory=dict)
    """The cutters of streams in a film with joins."""
    _seconds: list[_Second] = field(default_factory=list)
    _last: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Each stream's latest stamp, and the position of its packet."""

    def __post_init__(self) -> None:
        self._add_cutters(self.heads)

    def _add_cutters(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            head = self.heads.get(number)
            if head is not None and head.edits is not None:
                self.cutters[number] = Cutter(head.edits, head.tick)

    def readings(self) -> Iterator[Iterator[tuple[int, Packet]]]:
        """All packets, and the tracks' packets once more each time edit lists go back in the file."""
        yield iter(self)
        for _ in range(1, max((len(c.edits.runs) for c in self.cutters.values()), default=1)):
            with closing(self.reader.again()) as reader, open_read(self.path, reader) as container:
                packets = _read_packets(container, self.log, self.path.name)
                yield ((p.stream.index, p) for p in packets if p.stream.index in self.cutters)

    def __iter__(self) -> Iterator[tuple[int, Packet]]:
        for number, packet, place in self._all():
            stamp = packet.pts if packet.pts is not None else packet.dts
            if stamp is not None:
                self._last[number] = stamp, place
            yield number, packet

    def rest(self, number: int) -> Iterator[Packet]:
        """The last packets of an ended stream, which the demuxer holds back until another one arrives."""
        if self.container.format.name not in _PACKETISED or number not in self._last:
            return
        last, place = self._last[number]
        # Read the same stretch again as a file of its own: at its end libav has to hand out what it holds.
        part = Part(max(0, place - _REST_BYTES), stop=self.reader.place(self.reader.tell()))
        stream = self.streams[number]
        latest = last + int(_REST_S / stream.time_base) if stream.time_base else last
        with ExitStack() as opened, suppress(MediaError):
            reader = opened.enter_context(closing(self.reader.part(part)))
            container = opened.enter_context(open_read(self.path, reader))
            for packet in _read_packets(container, _ReadLog(), self.path.name):
                same = (packet.stream.type, packet.stream.id) == (stream.type, stream.id)
                if same and packet.pts is not None and last < packet.pts <= latest:
                    yield packet

    def _all(self) -> Iterator[tuple[int, Packet, int]]:
        """Number, packet and about where in the file it begins."""
        self.streams.update({s.index: s for s in self.container.streams})
        # Asking for the number of streams costs a dump of the whole container, so ask only after a new read.
        name = self.container.format.name
        count, reads, before, place = len(self.streams), 0, self.reader.place(0), 0
        for packet in _read_packets(self.container, self.log, self.path.name):
            if name in GROWING and self.reader.reads != reads:
                # New streams were met between the last look and this one.
                met = stream_count(self.container)
                if met > count:
                    self._open_another(before, name)
                    count = met
                reads, before = self.reader.reads, place
            place = max(place, self.reader.place(packet.pos or 0))
            # Merge by byte position, so that both readers hand out packets as one reader would have met them.
            for second in self._seconds:
                yield from second.until(place)
            yield packet.stream.index, packet, place
        # Streams that appeared in the last block were never compared with a later one.
        count = max(count, stream_count(self.container))
        if name in GROWING and count > len(self.streams) + self.unread:
            self._open_another(before, name)
        for second in self._seconds:
            yield from second.until(None)
        self.unread = count - len(self.streams)
        yield from self._files_behind()

    def _files_behind(self) -> Iterator[tuple[int, Packet, int]]:
        """The packets of the files that follow the first one."""
        following = self.reader.end.following
        at = None if following is None else self.reader.place(following)
        files = 0
        while at is not None and files < _MOST_FILES:
            reader = self.reader.part(Part(at))
            self.opened.callback(reader.close)
            reader.find_end()
            at, files = (
                None if reader.end.following is None else reader.place(reader.end.following),
                files + 1,
            )
            try:
                container = self.opened.enter_context(open_read(self.path, reader))
            except MediaError:
                self.unread += 1
                continue
            numbers = self._adopt(container, reader, set())
            for packet in _read_packets(container, self.log, self.path.name):
                yield numbers[packet.stream.index], packet, reader.place(packet.pos or 0)
        self.unread += at is not None

    def _open_another(self, place: int, name: str) -> None:
        if len(self._seconds) == _MOST_DEMUXERS:
            return
        part = Part(place, _PREFIXES.get(name, b""))
        reader = self.reader.part(part)
        self.opened.callback(reader.close)
        try:
            container = self.opened.enter_context(open_read(self.path, reader))
        except MediaError:
            return
        known = {(s.type, s.id) for s in self.streams.values()}
        numbers = self._adopt(container, reader, known)
        packets = _read_packets(container, _ReadLog(), self.path.name)
        self._seconds.append(_Second(container, reader, numbers, packets, at=place))

    def _adopt(
        self, container: InputContainer, reader: Reader, known: Container[tuple[str, int]]
    ) -> dict[int, int]:
        """Number the streams that are not known yet; returns the numbers by the streams' own."""
        programme = taken_programme(self.heads.values())
        heads = {h.index: h for h in stream_heads(container, reader, programme)}
        numbers: dict[int, int] = {}
        for stream in container.streams:
            if (stream.type, stream.id) in known:
                continue
            number = numbers[stream.index] = len(self.streams)
            self.streams[number] = stream
            if stream.index in heads:
                head = self.heads[number] = heads[stream.index]
                head.index = number
        self._add_cutters(numbers.values())
        return numbers
