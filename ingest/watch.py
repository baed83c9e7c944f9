"""A second pass over the picture alone, for observers added after the rest has been decoded."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from fractions import Fraction

import av

from corpus.ingest.choose import DecodeSource, Plan, choose
from corpus.ingest.decode import heads_again
from corpus.ingest.demux import Demuxer, Packet
from corpus.ingest.media import open_reader
from corpus.ingest.moving import FrameObserver, PictureTrack
from corpus.ingest.packets import Feed
from corpus.ingest.timeline import Restarts
from corpus.ingest.tracks import nominal_duration, picture_track, stream_clock
from corpus.schemas.settings import IngestSettings


def watch(
    files: Sequence[DecodeSource], settings: IngestSettings, observers: Sequence[FrameObserver]
) -> None:
    """Show the observers every frame of the chosen picture, at the times that `decode` gives.

    If stamps jump backward, all streams together decide how a file continues: such a file must be decoded
    completely to be seen at the same times.

    Raises:
        MediaError: a file is not a media file.
    """
    for plan in choose(files, settings):
        if "video" in plan.kinds:
            _watch(plan, settings, observers)


def _watch(plan: Plan, settings: IngestSettings, observers: Sequence[FrameObserver]) -> None:
    track: PictureTrack | None = None

    def before(number: int, packet: Packet) -> None:
        if track is not None:
            track.sent(packet)

    with open_reader(plan.source.path) as (container, reader), ExitStack() as opened:
        demuxer = Demuxer(plan.source.path, container, reader, heads_again(plan, container), opened)
        feed = Feed(demuxer, frozenset(("video",)), before=before)
        for read in feed:
            head = demuxer.heads[read.stream]
            if track is None:
                clock = stream_clock(head, plan, Restarts())
                track = picture_track(head, _NoPicker(), clock, observers, settings)
            elif read.takes_over:
                track.join(head.frame_tick, nominal_duration(head))
            if read.joins:
                track.pause()
            if read.failed and read.packet is not None:
                track.lost(read.packet)
            for frame in read.frames:
                if isinstance(frame, av.VideoFrame):
                    # The pixels' shape only matters for the kept pictures, and here none are kept.
                    track.push(frame, Fraction(1))
        if track is not None:
            track.finish()


class _NoPicker:
    """Keeps no picture."""

    def push(self, frame: av.VideoFrame, time_us: int, aspect: Fraction) -> None:
        """Let the frame go."""

    def pause(self, end_us: int) -> None:
        """Nothing is shown."""

    def finish(self, end_us: int) -> None:
        """Nothing was kept."""

    def close(self) -> None:
        """Nothing is open."""
