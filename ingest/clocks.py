"""Which stamps to trust: some containers keep no clock, or only the order of decoding."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from heapq import heappop, heappush

from corpus.ingest.timeline import Restarts

_COUNTED = frozenset(
    "aac ac3 eac3 mp3 amr amrnb amrwb gsm g722 dts dtshd truehd loas shn sln mulaw alaw tta caf".split()
)
"""Raw streams and CAF, which keep no clock: libav makes up their stamps from the head."""
_DECODE_ORDER = frozenset(("avi",))
"""Containers that number pictures in the order in which they are decoded."""
_UNSTAMPED = frozenset("h261 h263 h264 hevc m4v mpegvideo vc1 obu".split())
"""Raw pictures: they leave the decoder in order of presentation, at the nominal rate."""
_MOST_DELAYED = 32
"""No decoder holds back more pictures."""


@dataclass(frozen=True, slots=True)
class StreamClock:
    """What the stamps of a stream mean."""

    tick: Fraction
    """Its time base, in seconds."""
    zero: Fraction
    """The time on its own clock that is the recording's zero, in seconds."""
    restarts: Restarts
    stream: int
    container: str = ""
    """Determines whether the stamps can be trusted."""


def counted(container: str) -> bool:
    """Whether sound in this container is placed by counting its samples."""
    return container in _COUNTED


def decode_order(container: str) -> bool:
    """Whether stamps of this container's pictures are in the order of decoding."""
    return container in _DECODE_ORDER


def unstamped(container: str) -> bool:
    """Whether pictures in this container have no time other than their number."""
    return container in _UNSTAMPED


class PresentationOrder:
    """Stamps in the order of decoding go in; those in the order of presentation come out.

    A decoder gives pictures in the order of presentation, so the next one has the smallest stamp left.
    """

    def __init__(self) -> None:
        self._stamps: list[int] = []

    def sent(self, stamp: int | None) -> None:
        """A packet with this stamp goes to the decoder."""
        if stamp is not None:
            heappush(self._stamps, stamp)
            # Packets without a picture leave their stamps behind, which would delay all that follow.
            while len(self._stamps) > _MOST_DELAYED:
                heappop(self._stamps)

    def lost(self, stamp: int | None) -> None:
        """The packet with this stamp could not be decoded."""
        if stamp in self._stamps:
            # Taking one out of the middle breaks the heap; a sorted list is a heap again.
            self._stamps.remove(stamp)
            self._stamps.sort()

    def next(self) -> int | None:
        """The stamp of the picture that the decoder gives now."""
        return heappop(self._stamps) if self._stamps else None
