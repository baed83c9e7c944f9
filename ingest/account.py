"""Every stream accounted for: what was read of it, and what of that is not in the data.

The guard behind all other care: whatever the reason, sound or pictures that a file holds and the data
does not are told with their seconds. A second track of the same time is a `trim`; anything else a `fault`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal

import av

from corpus.ingest.head import StreamHead
from corpus.schemas.drops import Drop

LEAST = Fraction(1, 5)
"""Seconds: a loss of less than a window is an oddity."""
LEAST_PICTURES = Fraction(1)
"""Seconds of pictures: after so long the one before is stale."""
BRIDGE = Fraction(1)
"""Packets of one stream this near to each other cover what is between them."""
MOST_SPANS = 10_000
EXPECTED = ("cover_art", "room_sound")


@dataclass(slots=True)
class Tally:
    """What was read of one stream, in seconds of its own stamps."""

    packets: int = 0
    seconds: Fraction = Fraction(0)
    lost: Fraction = Fraction(0)
    """In packets that could not be decoded."""
    decoded: int = 0
    """Frames."""
    end: Fraction | None = None
    spans: list[list[Fraction]] = field(default_factory=list)

    def read(self, packet: av.Packet[av.stream.Stream], tick: Fraction) -> Fraction:
        """Count a packet; its length in seconds."""
        length = Fraction(max(0, packet.duration or 0)) * tick
        self.packets += 1
        self.seconds += length
        stamp = packet.pts if packet.pts is not None else packet.dts
        if stamp is not None:
            self._cover(stamp * tick, stamp * tick + length)
        return length

    def _cover(self, start: Fraction, stop: Fraction) -> None:
        self.end = stop if self.end is None else max(self.end, stop)
        last = self.spans[-1] if self.spans else None
        if last is not None and (abs(start - last[1]) <= BRIDGE or len(self.spans) == MOST_SPANS):
            last[1] = max(last[1], stop)
        else:
            self.spans.append([start, stop])


@dataclass(slots=True)
class Account:
    """What was read of a file."""

    tallies: dict[int, Tally] = field(default_factory=dict)
    """By stream index: all audio and video streams of the head."""
    appeared: int = 0
    """Streams that the head does not list, met while reading."""
    end: Fraction | None = None
    """Where the last packet of any stream ends, subtitles and data included, in seconds of its stamps."""

    def drops(
        self, heads: Mapping[int, StreamHead], cancelled_s: Mapping[int, float], item: str, *, pictures: bool
    ) -> list[Drop]:
        """What the file holds and the data does not; `pictures`: whether pictures are wanted at all."""
        found = [
            Drop(item=item, stage="decode", kind=kind, code=code, reason=reason)
            for head in heads.values()
            for kind, code, reason in self._of_stream(head, heads, pictures=pictures)
        ]
        for index, seconds in cancelled_s.items():
            if seconds > LEAST:
                reason = (
                    f"in {seconds:.1f} s the channels of stream {index} cancel each other, so their mean is "
                    'all but silent; take channels = "per_channel", or export one of them'
                )
                found.append(_fault(item, "channels_cancel", reason))
        if self.appeared:
            reason = (
                f"{self.appeared} streams begin in the middle of the file under ids that its start does not "
                "name; what they hold was left out. Write the file anew with a tool that knows them all"
            )
            found.append(_fault(item, "stream_appeared", reason))
        return found

    def _of_stream(
        self, head: StreamHead, heads: Mapping[int, StreamHead], *, pictures: bool
    ) -> Iterable[tuple[Literal["trim", "fault"], str, str]]:
        tally = self.tallies.get(head.index)
        if tally is None or not tally.packets:
            return
        what = "sound" if head.kind == "audio" else "pictures"
        least = LEAST if head.kind == "audio" else LEAST_PICTURES
        if head.chosen:
            if tally.lost > least:
                reason = f"{_s(tally.lost)} of {what} in stream {head.index} could not be decoded"
                yield "fault", f"{head.kind}_not_decoded", reason
            return
        if head.refused_code in EXPECTED or (head.kind == "video" and not pictures):
            return
        others = [
            self.tallies[h.index].spans
            for h in heads.values()
            if h.chosen and h.kind == head.kind and h.index in self.tallies
        ]
        alone = _outside(tally.spans, [span for spans in others for span in spans])
        if head.refused_code == "other_programme":
            reason = f"{_s(tally.seconds)} of {what} are left out: stream {head.index} {head.refused}"
            yield "trim", "other_programme", reason
        elif head.refused:
            reason = f"{_s(tally.seconds)} of {what} are left out: stream {head.index} {head.refused}"
            yield "fault", "stream_refused", reason
        elif others and alone > BRIDGE:
            reason = f"stream {head.index}, left out, has {_s(alone)} of {what} where the one used has none"
            yield "fault", "stream_left_out", reason
        elif not others and head.kind == "audio":
            reason = f"{_s(tally.seconds)} of sound in stream {head.index} are left out"
            yield "fault", "stream_left_out", reason
        else:
            reason = f"stream {head.index} is another track of the same time; one is used"
            yield "trim", "second_track", reason


def _outside(spans: Iterable[Iterable[Fraction]], others: list[list[Fraction]]) -> Fraction:
    """How much of `spans` lies in none of `others`."""
    ordered = sorted(others)
    rest = Fraction(0)
    for start, stop in spans:
        at = start
        for low, high in ordered:
            if low >= stop:
                break
            if high <= at:
                continue
            rest += max(Fraction(0), low - at)
            at = high
        rest += max(Fraction(0), stop - at)
    return rest


def _s(seconds: Fraction) -> str:
    return f"{float(seconds):.1f} s"


def _fault(item: str, code: str, reason: str) -> Drop:
    return Drop(item=item, stage="decode", kind="fault", code=code, reason=reason)
