"""A second pass over the picture alone, for who looks at frames when the rest is decoded already."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from fractions import Fraction

import av
from av.video.stream import VideoStream

from corpus.ingest.choose import DecodeSource, Plan, choose
from corpus.ingest.decode import nominal_duration
from corpus.ingest.head import StreamHead, one_core, pixel_aspect, stream_heads
from corpus.ingest.media import open_media
from corpus.ingest.moving import FrameObserver, PictureTrack
from corpus.ingest.packets import PacketLog, packets
from corpus.ingest.timeline import Restarts
from corpus.schemas.clock import US
from corpus.schemas.settings import IngestSettings


def watch(
    files: Sequence[DecodeSource], settings: IngestSettings, observers: Sequence[FrameObserver]
) -> None:
    """Show the observers every frame of the chosen picture, at the times that `decode` gives.

    Where stamps jump backward the streams decide together how a file goes on: such a file has to be
    decoded whole to be seen at the same times.

    Raises:
        MediaError: a file is no media file.
    """
    for plan in choose(files, settings):
        for head in plan.heads.values():
            if head.kind == "video" and head.chosen:
                _watch(plan, head.index, settings, observers)


def _watch(plan: Plan, index: int, settings: IngestSettings, observers: Sequence[FrameObserver]) -> None:
    with open_media(plan.source.path) as container:
        (head,) = (h for h in stream_heads(container) if h.index == index)
        one_core(head.stream)
        with closing(_track(head, plan, settings, observers)) as moving:
            for read in packets(container, {index}, PacketLog(), plan.source.path.name, moving.sent):
                if read.failed and read.packet is not None:
                    moving.lost(read.packet)
                for frame in read.frames:
                    if isinstance(frame, av.VideoFrame):
                        moving.push(frame)
            moving.finish()


def _track(
    head: StreamHead, plan: Plan, settings: IngestSettings, observers: Sequence[FrameObserver]
) -> PictureTrack:
    assert isinstance(head.stream, VideoStream)
    return PictureTrack(
        NoPicker(),
        observers,
        tick=head.tick,
        zero=plan.zero,
        nominal=nominal_duration(head),
        aspect=pixel_aspect(head.stream),
        longest_gap_us=settings.longest_filled_gap_s * US,
        restarts=Restarts(),
        stream=head.index,
        container=plan.container,
    )


class NoPicker:
    """Keeps no picture."""

    def push(self, frame: av.VideoFrame, time_us: int, aspect: Fraction) -> None:
        """Let the frame go."""

    def finish(self, end_us: int) -> None:
        """Nothing was kept."""

    def close(self) -> None:
        """Nothing is open."""
