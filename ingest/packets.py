"""Packets of a container, decoded; what is broken is counted and passed over."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass

import av
from av.container import InputContainer
from av.frame import Frame
from av.stream import Stream

from corpus.schemas.errors import MediaError
from corpus.schemas.recording import Oddity

MOST_READ_ERRORS = 100
"""A file that breaks more often than this is read no further."""


@dataclass(slots=True)
class PacketLog:
    """How reading went."""

    bad_packets: int = 0
    read_errors: int = 0
    cut_off: bool = False
    """Reading ended with an error rather than with the end of the file."""

    def oddities(self) -> list[Oddity]:
        found: list[Oddity] = []
        if self.bad_packets:
            found.append(
                Oddity(code="corrupt_packets", detail=f"{self.bad_packets} packets could not be decoded")
            )
        if self.read_errors:
            found.append(
                Oddity(code="read_errors", detail=f"the container was broken in {self.read_errors} places")
            )
        return found


@dataclass(slots=True)
class Read:
    """One packet and what came of it."""

    stream: int
    frames: list[Frame]
    packet: av.Packet[Stream] | None
    """None where a decoder is emptied."""
    failed: bool = False
    """It was to be decoded and could not be."""


def packets(
    container: InputContainer,
    wanted: Container[int],
    log: PacketLog,
    where: str,
    before: Callable[[av.Packet[Stream]], None] = lambda packet: None,
) -> Iterator[Read]:
    """All packets, those of the `wanted` streams decoded, their decoders emptied at the end.

    `before` sees each packet that is about to be decoded.
    """
    reader = container.demux()
    progress = True
    while True:
        try:
            packet = next(reader)
        except (StopIteration, IndexError):
            # IndexError: a stream has appeared that was not in the header, and PyAV trips over it.
            break
        except av.FFmpegError:
            log.read_errors += 1
            if not progress or log.read_errors > MOST_READ_ERRORS:
                log.cut_off = True
                break
            progress, reader = False, container.demux()
            continue
        except OSError as error:
            raise MediaError(f"cannot be read to its end: {error.strerror or error}", where=where) from error
        progress = True
        # A packet that empties a decoder does not hold its stream's number: that of 0 stands in it.
        index = packet.stream.index
        emptying = packet.size == 0 and packet.pts is None and packet.dts is None
        if emptying:
            continue
        if index not in wanted:
            yield Read(index, [], packet)
            continue
        before(packet)
        try:
            frames: list[Frame] = packet.decode()  # type: ignore[assignment]
        except (av.FFmpegError, ValueError, MemoryError):
            log.bad_packets += 1
            yield Read(index, [], packet, failed=True)
            continue
        yield Read(index, frames, packet)
    yield from _flush([s for s in container.streams if s.index in wanted], log)


def _flush(streams: Sequence[Stream], log: PacketLog) -> Iterator[Read]:
    for stream in streams:
        try:
            yield Read(stream.index, list(stream.decode(None)), None)  # type: ignore[attr-defined]
        except av.EOFError:
            continue
        except (av.FFmpegError, ValueError, MemoryError):
            log.bad_packets += 1
