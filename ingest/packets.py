"""Packets of a container, decoded; what is broken is counted and passed over."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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


def packets(
    container: InputContainer, streams: Sequence[Stream], log: PacketLog, where: str
) -> Iterator[tuple[int, list[Frame]]]:
    """(stream index, frames) per packet, decoders emptied at the end."""
    reader = container.demux(tuple(streams))
    progress = True
    while True:
        try:
            packet = next(reader)
        except StopIteration:
            return
        except IndexError:
            # A stream has appeared that was not in the header: PyAV trips over it when it empties
            # the decoders at the end, so they are emptied here.
            yield from _flush(streams, log)
            return
        except av.FFmpegError:
            log.read_errors += 1
            if not progress or log.read_errors > MOST_READ_ERRORS:
                log.cut_off = True
                yield from _flush(streams, log)
                return
            progress, reader = False, container.demux(tuple(streams))
            continue
        except OSError as error:
            raise MediaError(f"cannot be read to its end: {error.strerror or error}", where=where) from error
        progress = True
        try:
            frames: list[Frame] = packet.decode()  # type: ignore[assignment]
        except (av.FFmpegError, ValueError):
            log.bad_packets += 1
            continue
        yield packet.stream_index, frames


def _flush(streams: Sequence[Stream], log: PacketLog) -> Iterator[tuple[int, list[Frame]]]:
    for stream in streams:
        try:
            yield stream.index, list(stream.decode(None))  # type: ignore[attr-defined]
        except av.EOFError:
            continue
        except (av.FFmpegError, ValueError):
            log.bad_packets += 1
