"""Accounting for every stream: what was read from it, and what of that is missing from the data.

The last safeguard: sound or pictures that are in a file but not in the data are reported in seconds, whatever
the reason. A second track covering the same time is a `trim`; anything else is a `fault`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal

import av

from corpus.ingest.cutter import Cutter
from corpus.ingest.edits import Film
from corpus.ingest.film import MOST_RUNS, EditList
from corpus.ingest.head import StreamHead
from corpus.schemas.drops import Drop

_LEAST = Fraction(1, 5)
"""In seconds: losing less than a window is only an oddity."""
_LEAST_PICTURES = Fraction(1)
"""In seconds of pictures: after this long the previous picture is stale."""
_BRIDGE = Fraction(1)
"""Packets of one stream this close together also cover the time between them."""
_MOST_SPANS = 10_000
_EXPECTED = ("cover_art", "room_sound")


@dataclass(slots=True)
class Tally:
    """What was read from one stream, in ticks of its time base: exact, and cheap for every packet."""

    tick: Fraction
    counted: bool = True
    """False for subtitles and data, which only show where the file ends."""
    packets: int = 0
    length: int = 0
    lost: int = 0
    """Spans of packets that could not be decoded."""
    decoded: int = 0
    """Frames."""
    end: int | None = None
    spans: list[list[int]] = field(default_factory=list)
    cutter: Cutter | None = None
    """For a film with joins: what it hides is not a loss, and `tick` is its unit."""

    def read(self, packet: av.Packet[av.stream.Stream]) -> None:
        """Count a packet."""
        self.packets += 1
        self.length += self.length_of(packet)
        stamp = packet.pts if packet.pts is not None else packet.dts
        if stamp is None:
            return
        length = max(0, packet.duration or 0)
        if self.cutter is None:
            self._cover(stamp, stamp + length)
        else:
            for start, stop in self.cutter.film_spans(stamp, length):
                self._cover(start, stop)

    def length_of(self, packet: av.Packet[av.stream.Stream]) -> int:
        """How much displayed time a packet covers, in ticks."""
        length = max(0, packet.duration or 0)
        stamp = packet.pts if packet.pts is not None else packet.dts
        if self.cutter is None or stamp is None:
            return length if self.cutter is None else 0
        return sum(stop - start for start, stop in self.cutter.film_spans(stamp, length))

    def _cover(self, start: int, stop: int) -> None:
        self.end = stop if self.end is None else max(self.end, stop)
        last = self.spans[-1] if self.spans else None
        # Whole numbers, without a division: this runs for every packet.
        # When full, the last span swallows the rest: a file of wild stamps must not fill memory.
        near = last is not None and abs(start - last[1]) * self.tick.numerator <= self.tick.denominator
        if last is not None and (near or len(self.spans) == _MOST_SPANS):
            last[1] = max(last[1], stop)
        else:
            self.spans.append([start, stop])

    @property
    def spans_s(self) -> list[list[Fraction]]:
        """Spans covered by packets, in seconds; gaps of up to a second are closed."""
        return [[start * self.tick, stop * self.tick] for start, stop in self.spans]


@dataclass(slots=True)
class Account:
    """What was read from a file."""

    tallies: dict[int, Tally]
    """By stream index: all streams of the head."""
    unread: int = 0
    """Streams met in mid-file, or files behind the first one, that could not be read."""
    unread_bytes: int = 0
    """Bytes after the end declared in the file's head."""

    @property
    def end(self) -> Fraction | None:
        """The end of the last packet of any stream, in seconds of its stamps."""
        return max((t.end * t.tick for t in self.tallies.values() if t.end is not None), default=None)

    def drops(self, heads: Mapping[int, StreamHead], item: str, *, pictures: bool) -> list[Drop]:
        """Drops for what the file holds and the data does not; `pictures`: whether pictures are wanted."""
        drops = [
            Drop(item=item, stage="decode", kind=kind, code=code, reason=reason)
            for head in heads.values()
            for kind, code, reason in self._of_stream(head, heads, pictures=pictures)
        ]
        if self.unread_bytes:
            reason = (
                f"{self.unread_bytes} bytes stand behind the sound that the file's head names and were left "
                "out; if they are sound, let a tool repair the head"
            )
            drops.append(_fault(item, "bytes_behind_the_end", reason))
        if self.unread:
            reason = (
                f"{self.unread} streams begin in the middle of the file and cannot be read from there; what "
                "they hold was left out. Write the file anew with a tool that knows them all"
            )
            drops.append(_fault(item, "stream_unread", reason))
        return drops

    def sound_drops(
        self, cancelled_s: Mapping[int, float], unfit_s: Mapping[int, float], item: str
    ) -> list[Drop]:
        """Drops for sound of the streams in use that is missing from their channels."""
        drops: list[Drop] = []
        for index, seconds in cancelled_s.items():
            if seconds > _LEAST:
                reason = (
                    f"in {seconds:.1f} s the channels of stream {index} cancel each other, so their mean is "
                    'all but silent; take channels = "per_channel", or export one of them'
                )
                drops.append(_fault(item, "channels_cancel", reason))
        for index, seconds in unfit_s.items():
            if seconds > _LEAST:
                reason = (
                    f"in {seconds:.1f} s stream {index} has more channels than it began with; those too many "
                    'are left out. Take channels = "mix", or cut the file where they change'
                )
                drops.append(_fault(item, "channels_left_out", reason))
        return drops

    def _of_stream(
        self, head: StreamHead, heads: Mapping[int, StreamHead], *, pictures: bool
    ) -> Iterable[tuple[Literal["trim", "fault"], str, str]]:
        tally = self.tallies.get(head.index)
        if tally is None or not tally.packets or not tally.counted:
            return
        seconds, lost = tally.length * tally.tick, tally.lost * tally.tick
        what = "sound" if head.kind == "audio" else "pictures"
        least = _LEAST if head.kind == "audio" else _LEAST_PICTURES
        # A stream in use is short only by what its decoder refused; the clock reports its own holes.
        if head.chosen:
            if lost > least:
                reason = f"{_s(lost)} of {what} in stream {head.index} could not be decoded"
                yield "fault", f"{head.kind}_not_decoded", reason
            return
        if head.refused_code in _EXPECTED or (head.kind == "video" and not pictures):
            return
        # Where the streams in use have packets; what lies outside is in no channel and no window.
        others = [
            self.tallies[h.index].spans_s
            for h in heads.values()
            if h.chosen and h.kind == head.kind and h.index in self.tallies
        ]
        alone = _outside(tally.spans_s, [span for spans in others for span in spans])
        # From here on the stream was left out: say why, from the most specific reason to the most harmless.
        if head.refused_code == "other_programme":
            reason = f"{_s(seconds)} of {what} are left out: stream {head.index} {head.refused}"
            yield "trim", "other_programme", reason
        elif head.refused:
            reason = f"{_s(seconds)} of {what} are left out: stream {head.index} {head.refused}"
            yield "fault", "stream_refused", reason
        elif others and alone > _BRIDGE:
            reason = f"stream {head.index}, left out, has {_s(alone)} of {what} where the one used has none"
            yield "fault", "stream_left_out", reason
        elif not others and head.kind == "audio":
            reason = f"{_s(seconds)} of sound in stream {head.index} are left out"
            yield "fault", "stream_left_out", reason
        else:
            reason = f"stream {head.index} is another track of the same time; one is used"
            yield "trim", "second_track", reason


def _outside(spans: Iterable[Iterable[Fraction]], others: list[list[Fraction]]) -> Fraction:
    """How much of `spans` lies outside all `others`."""
    # Walk along each span, past all that covers it; what is left between is counted.
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


def edit_drops(film: Film, lists: Iterable[EditList], item: str) -> list[Drop]:
    """Drops for unsupported parts of edit lists; `lists`: those of a film with joins that are in use."""
    drops = []
    if film.hidden_s:
        reason = (
            f"its edit list has no length, so nothing is shown of {film.hidden_s:.3f} s of sound or "
            "pictures: export it again without edits"
        )
        drops.append(_fault(item, "hidden_by_edits", reason))
    if film.other_speed_s:
        done = "were left empty" if film.joined else "were used at their own speed"
        reason = (
            f"its edit list asks for {film.other_speed_s:.3f} s at another speed than they were recorded at; "
            f"they {done}: export it again with the speed as its own"
        )
        drops.append(_fault(item, "edit_speed", reason))
    left_out_s = max((edits.left_out_s for edits in lists), default=0.0)
    if left_out_s:
        reason = (
            f"its edit list goes back in the file over {MOST_RUNS} times, or lasts for days; its last "
            f"{left_out_s:.3f} s were left out: export it again without edits"
        )
        drops.append(_fault(item, "edits_left_out", reason))
    return drops


def _fault(item: str, code: str, reason: str) -> Drop:
    return Drop(item=item, stage="decode", kind="fault", code=code, reason=reason)
