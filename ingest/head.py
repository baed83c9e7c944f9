"""Reading a file's head: its streams, which of them can be used, and when each is first presented."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from typing import Literal, TypeAlias

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from corpus.ingest.clocks import decode_order
from corpus.ingest.decoder import Decoder, decoder_of
from corpus.ingest.film import EditList, edit_lists
from corpus.ingest.lead import lead_samples, leave_out
from corpus.ingest.media import GROWING, MOST_PIXELS, Reader, programmes
from corpus.ingest.pictures import orientation
from corpus.schemas.clock import round_half_up

_MediaStream: TypeAlias = AudioStream | VideoStream
_AnyPacket: TypeAlias = "av.Packet[Stream]"

_LARGEST_SIDE = 16_384
_HIGHEST_RATE_HZ = 768_000
_LOWEST_RATE_HZ = 1_000
_MOST_CHANNELS = 64
LONGEST_S = 1_000_000
"""Eleven days. A longer declared duration is reported and otherwise ignored; no memory depends on it."""
_HEAD_PACKETS = 6000
_HEAD_BYTES = 96 * 1024 * 1024
_RATE_STAMPS = 120
"""Video stamps examined to distinguish constant from variable frame rate."""
_SECONDARY = (
    Disposition.comment
    | Disposition.visual_impaired
    | Disposition.hearing_impaired
    | Disposition.dub
    | Disposition.descriptions
)

_MOST_BEHIND = Fraction(5)
"""Seconds of interleaving: packets of the same time are no further apart in a file."""
_NO_PART = ("cover_art", "other_programme")
"""Reasons for refusing a stream that also keep it from moving the file's zero."""

RateKind = Literal["constant", "variable", "unknown"]


@dataclass(slots=True)
class StreamHead:
    """What is known about one stream before it is decoded."""

    stream: _MediaStream
    """Valid only while its container is open; the fields below outlive it."""
    index: int
    kind: Literal["audio", "video"]
    refused: str = ""
    """Why it cannot be used, or ""; cover art is refused here too."""
    refused_code: str = ""
    chosen: bool = False
    first: Fraction | None = None
    """First presentation time in seconds on the file's own clock."""
    rotation_degrees: int = 0
    """Clockwise."""
    mirrored: bool = False
    rate_kind: RateKind = "unknown"
    stamps: list[int] = field(default_factory=list)
    bad_packets: int = 0
    met_at: int | None = None
    """Number of the packet with its first frame; None if that is beyond the scanned head."""
    other_clock: bool = False
    """It begins at a time the others had long passed: its stamps are from another clock and move no zero."""
    last: Fraction | None = None
    """Its latest stamp in the scanned head, in seconds."""
    joined: bool = False
    """It continues another stream of its kind, or begins in the middle of the file."""
    codec: str = "unknown"
    rate: str = "0"
    """Audio: samples per second. Video: average frames per second. An exact fraction."""
    channels: int = 0
    width: int = 0
    """Displayed pixels, with sample aspect ratio and rotation applied."""
    height: int = 0
    tick: Fraction = Fraction(1, 1_000_000)
    """Time base in seconds."""
    programme: int | None = None
    """The programme of a multiplex to which it belongs; None if it belongs to all."""
    lead_samples: int = 0
    """Samples the decoder outputs before the recorded sound."""
    edits: EditList | None = None
    """What a film with joins shows of it: packets then carry the media's stamps, frames in use the film's."""

    _decoder: tuple[_MediaStream, Decoder] | None = None
    """Decoder of the stream that it was opened for."""

    def decoder(self) -> Decoder:
        """What decodes the stream's packets."""
        if self._decoder is None or self._decoder[0] is not self.stream:
            self._decoder = (self.stream, decoder_of(self.stream, whole=self.edits is not None))
        return self._decoder[1]

    @property
    def frame_tick(self) -> Fraction:
        """The unit of the stamps of frames in use, in seconds."""
        return self.tick if self.edits is None else Fraction(1, self.edits.per_second)

    @property
    def shown(self) -> Fraction | None:
        """Seconds that a film with joins shows of it, as declared; None if unknown."""
        stop = self.media_stop
        if self.edits is None or stop is None:
            return None
        return self.edits.shown_s((self.stream.start_time or 0) * self.tick, stop)

    @property
    def media_stop(self) -> Fraction | None:
        """The declared end of its media, in seconds of its packets' stamps."""
        duration = self.stream.duration
        return (
            None if not duration or duration < 0 else ((self.stream.start_time or 0) + duration) * self.tick
        )

    def describe(self) -> None:
        """Copy the stream's facts, which are gone once its container is closed."""
        stream = self.stream
        self.tick = Fraction(stream.time_base or self.tick)
        if isinstance(stream, VideoStream):
            self.rate = str(stream.average_rate or stream.guessed_rate or 0)
        if stream.codec_context is None:
            return
        self.codec = stream.codec_context.name
        if isinstance(stream, AudioStream):
            self.rate = str(stream.codec_context.sample_rate or 0)
            self.channels = stream.codec_context.layout.nb_channels
        else:
            width, height = stream.codec_context.width, stream.codec_context.height
            width = round_half_up(width * pixel_aspect(stream))
            self.width, self.height = (height, width) if self.rotation_degrees % 180 else (width, height)


def pixel_aspect(stream: VideoStream) -> Fraction:
    """Width of a pixel over its height; 1 if nothing sensible is declared."""
    return sensible_aspect(stream.sample_aspect_ratio)


def sensible_aspect(aspect: Fraction | None) -> Fraction:
    """The declared shape of pixels, or 1 if it is missing or absurd."""
    return Fraction(aspect) if aspect and Fraction(1, 16) <= aspect <= 16 else Fraction(1)


def stream_heads(container: InputContainer, reader: Reader, programme: int | None = None) -> list[StreamHead]:
    """The audio and video streams of a container, unusable ones with their reason.

    `reader` is what the container reads from; `programme` the one already in use.
    """
    heads: list[StreamHead] = []
    lists = edit_lists(reader.film, again=reader.first) if reader.film.joined else {}
    for stream in container.streams:
        if isinstance(stream, VideoStream):
            head = StreamHead(stream, stream.index, "video")
            head.refused_code, head.refused = _video_refusal(stream)
        elif isinstance(stream, AudioStream):
            head = StreamHead(stream, stream.index, "audio")
            head.refused_code, head.refused = _audio_refusal(stream)
            head.lead_samples = lead_samples(stream, container.format.name, reader.peek)
        else:
            continue
        head.edits = lists.get(stream.id)
        head.describe()
        heads.append(head)
    _one_programme(container, heads, programme)
    return heads


def taken_programme(heads: Iterable[StreamHead]) -> int | None:
    """The programme that is used."""
    return next((h.programme for h in heads if h.chosen and h.programme is not None), None)


def _one_programme(container: InputContainer, heads: list[StreamHead], taken: int | None) -> None:
    """Refuse all programmes' streams but one's: the first with sound and pictures, else with either."""
    of = programmes(container)
    kinds: dict[int, set[str]] = {}
    for head in heads:
        head.programme = of.get(head.index)
        if head.programme is not None and not head.refused:
            kinds.setdefault(head.programme, set()).add(head.kind)
    if taken is None:
        # `max` keeps the first of equals: programmes are listed in the order of the file.
        taken = max(kinds, key=lambda number: len(kinds[number]), default=None)
    for head in heads:
        if not head.refused and head.programme not in (None, taken):
            head.refused_code = "other_programme"
            head.refused = f"belongs to programme {head.programme}; programme {taken} is used"


def _video_refusal(stream: VideoStream) -> tuple[str, str]:
    if stream.disposition & (Disposition.attached_pic | Disposition.timed_thumbnails):
        return "cover_art", "is an attached picture, not a video"
    context = stream.codec_context
    if context is None:
        return "no_decoder", "has no decoder here"
    if max(context.width, context.height) > _LARGEST_SIDE or context.width * context.height > MOST_PIXELS:
        return "absurd_size", f"declares pictures of {context.width}x{context.height} pixels"
    return "", ""


def _audio_refusal(stream: AudioStream) -> tuple[str, str]:
    context = stream.codec_context
    if context is None:
        return "no_decoder", "has no decoder here"
    if context.sample_rate and not _LOWEST_RATE_HZ <= context.sample_rate <= _HIGHEST_RATE_HZ:
        return "absurd_rate", f"declares {context.sample_rate} samples per second"
    if context.layout.nb_channels > _MOST_CHANNELS:
        return "absurd_channels", f"declares {context.layout.nb_channels} channels"
    return "", ""


def preferred(heads: list[StreamHead], kind: Literal["audio", "video"]) -> StreamHead | None:
    """The stream a player would choose: usable, the main one, marked as default, first."""
    usable = [h for h in heads if h.kind == kind and not h.refused]
    return min(usable, key=_preference, default=None)


def _preference(head: StreamHead) -> tuple[bool, bool, int]:
    disposition = head.stream.disposition
    return bool(disposition & _SECONDARY), not disposition & Disposition.default, head.index


def scan(container: InputContainer, heads: list[StreamHead]) -> None:
    """Read from the start until the first frame of every stream is decoded; fill in the heads.

    This includes streams that are not chosen: the earliest is the file's zero. Reading stops after 6000
    packets or 96 MB; it waits for streams that are not chosen no longer than for the chosen ones, since what
    comes later in the file starts later. A chosen stream not met by then is assumed to start where its header
    says.
    """
    wanted = {h.index: h for h in heads if h.refused_code != "cover_art" and h.stream.codec_context}
    chosen = {h.index: h for h in wanted.values() if h.chosen}
    by_decoding = decode_order(container.format.name)
    size = 0
    begun: set[int] = set()
    for count, packet in enumerate(_packets(container, [h.stream for h in wanted.values()])):
        head = wanted[packet.stream.index]  # a packet that empties a decoder says 0 in packet.stream_index
        if head.index not in begun:
            begun.add(head.index)
            leave_out(packet, head.lead_samples)
        if packet.pts is not None:
            head.last = max(head.last or Fraction(packet.pts * head.tick), packet.pts * head.tick)
            if len(head.stamps) < _RATE_STAMPS:
                head.stamps.append(packet.pts)
        # A decoded frame, not the first packet: priming, pre-skip and edit lists show only after decoding.
        if head.first is None and _first_frame(packet, head):
            head.met_at = count
            if by_decoding and head.kind == "video":
                # The decoder's stamp is the packet's there; the earliest shown has the smallest stamp so far.
                head.first = min(head.stamps, default=0) * head.tick
            reached = max((h.last for h in heads if h.last is not None), default=Fraction(0))
            behind = reached - (head.first or 0) > _MOST_BEHIND
            # A stream that appears late with an early stamp was not cut late: its clock is another one.
            head.other_clock = behind and container.format.name in GROWING
        size += packet.size
        # Read on until a video's rate can be judged: that is for the report, hence its smaller limit.
        met = all(h.first is not None for h in chosen.values()) and _rates_known(chosen, size)
        if count >= _HEAD_PACKETS or size >= _HEAD_BYTES or met:
            break
    for head in heads:
        if head.chosen and head.first is None and head.stream.start_time is not None:
            head.first = head.stream.start_time * head.tick
        if head.edits is not None and head.first is not None:
            # From here on the file's clock is the film's, not that of the media.
            head.first = head.edits.first_s(head.first, head.media_stop)
            head.last = head.edits.end_s(head.media_stop)
        head.rate_kind = _rate_kind(head)
        head.describe()
        if head.first is None and head.kind == "audio" and not (head.channels and head.rate != "0"):
            if head.chosen:
                head.refused_code = "no_format"
                head.refused = "does not say how many channels it has, or how fast"
            head.chosen = False


def file_start(heads: list[StreamHead]) -> Fraction:
    """The earliest presentation of a file on its own clock; another programme has another clock."""
    parts = [h for h in heads if h.refused_code not in _NO_PART and not h.other_clock]
    firsts = [h.first for h in parts if h.first is not None]
    return min(firsts, default=Fraction(0))


def _packets(container: InputContainer, streams: list[_MediaStream]) -> Iterator[_AnyPacket]:
    packets = container.demux(tuple(streams))
    while True:
        try:
            yield next(packets)
        except (StopIteration, IndexError, av.FFmpegError):
            # IndexError: a stream has appeared that was not in the header; PyAV trips over it at the end.
            return


def _first_frame(packet: _AnyPacket, head: StreamHead) -> bool:
    try:
        frames = head.decoder().decode(packet)
    except (av.FFmpegError, ValueError):
        head.bad_packets += 1
        return False
    for frame in frames:
        if not isinstance(frame, (av.AudioFrame, av.VideoFrame)):
            continue
        stamp = frame.pts if frame.pts is not None else frame.dts
        tick = frame.time_base or head.tick
        head.first = (stamp or 0) * Fraction(tick)
        if isinstance(frame, av.VideoFrame):
            turns, head.mirrored = orientation(frame)
            head.rotation_degrees = 90 * turns
        return True
    return False


def _rates_known(chosen: dict[int, StreamHead], size: int) -> bool:
    return size > _HEAD_BYTES // 16 or all(
        len(h.stamps) >= _RATE_STAMPS for h in chosen.values() if h.kind == "video"
    )


def _rate_kind(head: StreamHead) -> RateKind:
    stamps = sorted(set(head.stamps))
    if head.kind == "audio" or len(stamps) < 4:
        return "unknown"
    # The newest few may still lack frames that are decoded later and shown earlier.
    stamps = stamps[:-3] if len(stamps) > 12 else stamps
    steps = [b - a for a, b in pairwise(stamps)]
    middle = sorted(steps)[len(steps) // 2]
    tolerance = max(2, middle // 50) if middle > 4 else 0
    return "constant" if all(abs(step - middle) <= tolerance for step in steps) else "variable"
