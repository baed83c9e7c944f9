"""The tracks of one file: a sound track for each chosen audio stream, and one of pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from av.video.stream import VideoStream

from corpus.ingest.choose import Plan, late_speakers
from corpus.ingest.clocks import StreamClock
from corpus.ingest.head import StreamHead, pixel_aspect, sensible_aspect
from corpus.ingest.moving import FrameObserver, Picker, PictureTrack
from corpus.ingest.packets import Read
from corpus.ingest.pictures import JpegEncoder, Pick, PicturePicker
from corpus.ingest.sound import SoundTrack
from corpus.ingest.timeline import Restarts
from corpus.schemas.clock import US, round_half_up
from corpus.schemas.settings import IngestSettings


@dataclass(frozen=True, slots=True)
class Channel:
    """One output channel: where its samples are kept until the recording is written."""

    speaker: str | None
    sound: SoundTrack
    file: Path
    of_track: int


@dataclass(frozen=True, slots=True)
class Pictures:
    """The pictures of a file: where they are kept until the recording is written."""

    track: PictureTrack
    picker: PicturePicker
    file: Path

    def picks(self) -> list[Pick]:
        return self.picker.picks()


@dataclass(slots=True)
class Leg:
    """The part of a track that one stream feeds."""

    sound: SoundTrack | None
    pictures: PictureTrack | None
    start_us: int = 0
    stop_us: int = 0
    follows: int | None = None
    """The stream that fed the track before."""

    @property
    def end_us(self) -> int:
        """How far the track has got."""
        if self.pictures is not None:
            return self.pictures.end_us
        return round_half_up(self.sound.end * US) if self.sound is not None else 0


class Tracks:
    """Consumes what is read from a file; `number` is the file's position in the recording."""

    def __init__(
        self,
        number: int,
        plan: Plan,
        out: Path,
        settings: IngestSettings,
        observers: Sequence[FrameObserver],
    ) -> None:
        self._number = number
        self._plan = plan
        self._out = out
        self._settings = settings
        self._observers = observers
        self._restarts = Restarts()
        self._pictures_of = -1
        """The stream with which the pictures begin."""
        self._fed_by: dict[int, int] = {}
        """The stream that feeds each track now."""
        self._aspects: dict[int, tuple[Fraction | None, Fraction]] = {}
        """The pixel shape that each stream's codec gave first, and the one in use for it."""
        self.sounds: dict[int, SoundTrack] = {}
        """By the number of the stream with which they begin, as everywhere here."""
        self.pictures: Pictures | None = None
        self.channels: list[Channel] = []
        self.legs: dict[int, Leg] = {}
        """By stream."""

    def begin(self, head: StreamHead, channels: int = 0) -> None:
        """Begin a track with this stream; `channels` of sound if the plan does not know them."""
        if head.kind == "audio":
            speakers = self._plan.outputs.get(head.index) or late_speakers(self._plan, max(1, channels))
            self._begin_sound(head, speakers)
        else:
            self._begin_pictures(head)
        self._fed_by[head.index] = head.index

    def _begin_sound(self, head: StreamHead, speakers: list[str | None]) -> None:
        files = [self._out / f".sound-{self._number}-{head.index}-{i}" for i in range(len(speakers))]
        sound = SoundTrack(
            files,
            stream_clock(head, self._plan, self._restarts),
            mixed=self._plan.mixed,
            rate_out=self._settings.sample_rate_hz,
            stop=_stop(head, self._plan),
        )
        self.sounds[head.index] = sound
        self.legs[head.index] = Leg(sound, None)
        pairs = zip(speakers, files, strict=True)
        self.channels += [Channel(name, sound, file, i) for i, (name, file) in enumerate(pairs)]

    def _begin_pictures(self, head: StreamHead) -> None:
        settings = self._settings
        encoder = JpegEncoder(settings.picture_width, settings.picture_height, settings.jpeg_quality)
        file = self._out / f".pictures-{self._number}"
        picker = PicturePicker(file, encoder)
        clock = stream_clock(head, self._plan, self._restarts)
        track = picture_track(head, picker, clock, self._observers, settings)
        self.pictures = Pictures(track, picker, file)
        self.legs[head.index] = Leg(None, track)
        self._pictures_of = head.index

    def read(self, read: Read, head: StreamHead) -> None:
        """Consume frames of the stream `head`, or its takeover of a track where another stream ended."""
        if read.takes_over:
            self._take_over(read, head)
        if read.joins:
            self._join_edits(read.track, head)
        sound = self.sounds.get(read.track)
        # A track that begins late is known by its first frame: the head did not give its channels.
        if sound is None and read.track != self._pictures_of and (read.frames or head.kind == "video"):
            first = next((f for f in read.frames if isinstance(f, av.AudioFrame)), None)
            self.begin(head, first.layout.nb_channels if first is not None else 0)
            sound = self.sounds.get(read.track)
        for frame in read.frames:
            if sound is not None and isinstance(frame, av.AudioFrame):
                sound.push(frame)
            elif self.pictures is not None and isinstance(frame, av.VideoFrame):
                self.pictures.track.push(frame, self._aspect(head))

    def _join_edits(self, track: int, head: StreamHead) -> None:
        """Mark a join: what comes now of a film does not continue what came before."""
        sound = self.sounds.get(track)
        if sound is not None:
            sound.join(head.frame_tick, None, restart=False)
        elif self.pictures is not None and track == self._pictures_of:
            self.pictures.track.pause()

    def _aspect(self, head: StreamHead) -> Fraction:
        """The current shape of the pixels: the container's, until the codec declares another."""
        assert isinstance(head.stream, VideoStream)
        now = head.stream.codec_context.sample_aspect_ratio
        first, aspect = self._aspects.setdefault(head.index, (now, pixel_aspect(head.stream)))
        return aspect if now == first else sensible_aspect(now)

    def _take_over(self, read: Read, head: StreamHead) -> None:
        before = self._fed_by.get(read.track)
        if before is None:
            return
        leg = self.legs[before]
        if leg.sound is not None:
            leg.sound.join(head.frame_tick, _stop(head, self._plan), restart=read.restart)
        elif leg.pictures is not None:
            leg.pictures.join(head.frame_tick, nominal_duration(head))
        leg.stop_us = leg.end_us
        # A stream that comes back has one leg, from its first turn to its last.
        self.legs.setdefault(head.index, Leg(leg.sound, leg.pictures, leg.stop_us, follows=before))
        self._fed_by[read.track] = head.index

    @property
    def end_us(self) -> int:
        """How far the longest track has got."""
        ends = [round_half_up(sound.end * US) for sound in self.sounds.values()]
        return max([*ends, self.pictures.track.end_us if self.pictures is not None else 0], default=0)

    @property
    def something(self) -> bool:
        """Whether anything was decoded."""
        any_sound = any(sound.extents for sound in self.sounds.values())
        return any_sound or (self.pictures is not None and self.pictures.track.frames > 0)

    def finish(self) -> None:
        """The file has ended."""
        for sound in self.sounds.values():
            sound.finish()
        if self.pictures is not None:
            self.pictures.track.finish()
        for stream in self._fed_by.values():
            self.legs[stream].stop_us = self.legs[stream].end_us

    def close(self) -> None:
        """Close the files, also where decoding was broken off."""
        for sound in self.sounds.values():
            sound.close()
        if self.pictures is not None:
            self.pictures.track.close()


def stream_clock(head: StreamHead, plan: Plan, restarts: Restarts) -> StreamClock:
    """What the stamps of a stream in a planned file mean."""
    return StreamClock(head.frame_tick, plan.zero, restarts, head.index, plan.container)


def picture_track(
    head: StreamHead,
    picker: Picker,
    clock: StreamClock,
    observers: Sequence[FrameObserver],
    settings: IngestSettings,
) -> PictureTrack:
    """The track that a video stream begins."""
    return PictureTrack(
        picker,
        observers,
        clock,
        nominal=nominal_duration(head),
        longest_gap_us=settings.longest_filled_gap_s * US,
    )


def _stop(head: StreamHead, plan: Plan) -> Fraction | None:
    """Where a stream's presentation ends, for containers that declare it to the sample."""
    # Only mov's edit lists are exact; other containers round, and cutting there would lose sound.
    duration = head.stream.duration
    if head.edits is not None:  # cut already
        return None
    if "mov" not in plan.container or head.first is None or not duration or duration < 0:
        return None
    return head.first + duration * head.tick


def nominal_duration(head: StreamHead) -> Fraction:
    """Usual seconds per frame of a video stream."""
    assert isinstance(head.stream, VideoStream)
    rate = head.stream.average_rate or head.stream.guessed_rate or Fraction(25)
    return min(1 / Fraction(rate), Fraction(1)) if rate > 0 else Fraction(1, 25)
