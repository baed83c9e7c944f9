"""All files of a recording together: its length, its windows, and its channels and pictures as files."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from corpus.ingest.assemble import content, padded_spans, segments_of, write_channel, write_pictures
from corpus.ingest.head import LONGEST_S
from corpus.ingest.tracks import Channel, Pictures
from corpus.schemas.artifacts import ChannelSpan, Decoded
from corpus.schemas.clock import US, WINDOW_US, round_half_up
from corpus.schemas.drops import Drop
from corpus.schemas.errors import MediaError
from corpus.schemas.recording import Oddity, Stream
from corpus.schemas.settings import IngestSettings
from corpus.schemas.span import Span, union


def write_decoded(
    channels: Sequence[Channel],
    pictures: Sequence[Pictures],
    streams: Sequence[Stream],
    oddities: Sequence[Oddity],
    out: Path,
    settings: IngestSettings,
) -> Decoded:
    """Write a decode folder from the tracks' temporary files; the first file with pictures provides them."""
    rate, longest_us = settings.sample_rate_hz, settings.longest_filled_gap_s * US
    shown = next((p for p in pictures if p.track.frames), None)
    # Several channels share one sound track: count it once.
    sounds = {id(channel.sound): channel.sound for channel in channels}.values()
    ends = [round_half_up(s.end * US) for s in sounds] + ([shown.track.end_us] if shown else [])
    duration_us = max(ends)
    sound_spans = [content(s.extents, rate, longest_us) for s in sounds]
    picture_spans = [Span(*span) for span in shown.track.spans_us] if shown else []
    begun_us = [spans[0].start_us for spans in (*sound_spans, picture_spans) if spans]
    # Checked before anything is written: stamps a year apart would make a year of windows.
    apart_us = max(max(times, default=0) - min(times, default=0) for times in (begun_us, ends))
    if apart_us > LONGEST_S * US:
        raise MediaError(
            f"its streams are stamped {apart_us // (US * 86_400)} days apart; they do not share a clock",
            todo="rewrite it with stamps that begin together",
        )
    spans = [span for part in (*sound_spans, picture_spans) for span in part]
    segments = segments_of(spans, duration_us, longest_us)
    padded: list[ChannelSpan] = []
    for number, channel in enumerate(channels):
        extents = channel.sound.extents
        write_channel(channel.file, extents, segments, rate, out / f"channel-{number}.i16")
        padded += padded_spans(number, extents, segments, rate)
    # A clip always has a channel, so a silent film gets one that is all padding.
    if not channels:
        write_channel(None, [], segments, rate, out / "channel-0.i16")
        padded = padded_spans(0, [], segments, rate)
        silence = Oddity(code="no_sound", detail="there is no sound; its channel is all padding")
        oddities = [*oddities, silence]
    write_pictures(shown.file if shown else None, shown.picks() if shown else [], segments, out)
    for leftover in (*(c.file for c in channels), *(p.file for p in pictures)):
        leftover.unlink()
    return Decoded(
        duration_us=duration_us,
        sample_rate_hz=rate,
        segments=tuple(segments),
        channels=tuple(c.speaker for c in channels) or (None,),
        streams=tuple(streams),
        padded=tuple(padded),
        saturated_samples=sum(s.saturated_samples for s in sounds),
        saturated=tuple(_saturated(channels)),
        picture_width=settings.picture_width if shown else 0,
        picture_height=settings.picture_height if shown else 0,
        oddities=(*oddities, *_unwritten(spans, longest_us)),
    )


def _unwritten(spans: Sequence[Span], longest_us: int) -> list[Oddity]:
    joined = union(spans, bridge_us=longest_us)
    return [
        Oddity(
            code="unwritten_gap",
            detail=f"no stream has anything for {(after.start_us - before.stop_us) / US:.3f} s; "
            "the windows inside are not written",
            start_us=before.stop_us,
            stop_us=after.start_us,
        )
        for before, after in pairwise(joined)
    ]


def _saturated(channels: Sequence[Channel]) -> list[ChannelSpan]:
    saturated: list[ChannelSpan] = []
    for number, channel in enumerate(channels):
        windows = channel.sound.saturated_windows[channel.of_track]
        spans = union(Span(w * WINDOW_US, (w + 1) * WINDOW_US) for w in windows)
        saturated += [ChannelSpan(channel=number, start_us=s.start_us, stop_us=s.stop_us) for s in spans]
    return saturated


def last_partial_window(item: str, decoded: Decoded) -> list[Drop]:
    """The Drop for the rest after the last whole window."""
    whole_us = decoded.duration_us // WINDOW_US * WINDOW_US
    rest_us = decoded.duration_us - whole_us
    if not rest_us:
        return []
    return [
        Drop(
            item=item,
            stage="decode",
            kind="trim",
            code="last_partial_window",
            reason=f"the last {rest_us / 1000:.3f} ms do not fill a window of 200 ms",
            start_us=whole_us,
            stop_us=decoded.duration_us,
        )
    ]
