"""A recording's files become sound per channel and one picture per window, on one clock.

One pass over each file feeds all its chosen streams; memory does not depend on the length.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from corpus.ingest.account import Account, Tally
from corpus.ingest.assemble import content, padded_spans, segments_of, write_channel, write_pictures
from corpus.ingest.choose import DecodeSource, Plan, choose
from corpus.ingest.clocks import counted
from corpus.ingest.facts import end_oddities, stream_facts
from corpus.ingest.head import StreamHead, one_core, pixel_aspect, stream_heads
from corpus.ingest.media import open_media, stream_count
from corpus.ingest.moving import FrameObserver, PictureTrack
from corpus.ingest.packets import PacketLog, Read, packets
from corpus.ingest.pictures import JpegEncoder, PicturePicker
from corpus.ingest.sound import SoundTrack
from corpus.ingest.timeline import Restarts
from corpus.schemas.artifacts import ChannelSpan, Decoded
from corpus.schemas.clock import US, WINDOW_US, round_half_up
from corpus.schemas.codec import to_json
from corpus.schemas.drops import Drop
from corpus.schemas.errors import MediaError
from corpus.schemas.recording import Oddity, Stream
from corpus.schemas.settings import IngestSettings
from corpus.schemas.span import Span, union

__all__ = ["DecodeSource", "FrameObserver", "decode_media"]

Progress = Callable[[int], None]


@dataclass(slots=True)
class _Channel:
    """One output channel: where its samples lie until the end."""

    speaker: str | None
    sound: SoundTrack | None
    file: Path | None
    of_track: int = 0


@dataclass(slots=True)
class _State:
    """What the passes over the files leave behind."""

    channels: list[_Channel] = field(default_factory=list)
    pictures: PictureTrack | None = None
    picker: PicturePicker | None = None
    pictures_file: Path | None = None
    streams: list[Stream] = field(default_factory=list)
    oddities: list[Oddity] = field(default_factory=list)
    drops: list[Drop] = field(default_factory=list)


def decode_media(
    files: Sequence[DecodeSource],
    out: Path,
    settings: IngestSettings,
    *,
    observers: Sequence[FrameObserver] = (),
    progress: Progress | None = None,
) -> tuple[Decoded, list[Drop]]:
    """Decode into the existing empty folder `out`; what is said of it is also in `decoded.json`.

    Raises:
        MediaError: a file is no media file, or nothing in it can be decoded.
    """
    plans = choose(files, settings)
    state = _State()
    for number, plan in enumerate(plans):
        _pass(number, plan, out, settings, state, observers, progress)
    decoded, drops = _assemble(files, out, settings, state)
    (out / "decoded.json").write_text(to_json(decoded) + "\n", encoding="utf-8")
    return decoded, drops


# --- one pass over one file -------------------------------------------------------------------


def _pass(
    number: int,
    plan: Plan,
    out: Path,
    settings: IngestSettings,
    state: _State,
    observers: Sequence[FrameObserver],
    progress: Progress | None,
) -> None:
    where = plan.source.path.name
    with ExitStack() as open_files, open_media(plan.source.path) as container:
        heads = {h.index: h for h in stream_heads(container) if h.index in plan.heads}
        for index, head in heads.items():
            head.first = plan.heads[index].first
        restarts = Restarts()
        sounds: dict[int, SoundTrack] = {}
        moving: PictureTrack | None = None
        for head in heads.values():
            if not plan.heads[head.index].chosen:
                continue
            one_core(head.stream)
            if head.kind == "audio":
                sounds[head.index] = _sound(number, head, plan, out, settings, state, restarts)
                open_files.callback(sounds[head.index].close)
            else:
                moving = _moving(head, plan, out, settings, state, observers, restarts)
                open_files.callback(moving.close)
        account = Account(
            {
                s.index: Tally(Fraction(s.time_base or Fraction(1, US)), counted=s.index in heads)
                for s in container.streams
            }
        )
        log = _run(container, where, sounds, moving, account, progress)
        account.appeared = max(0, stream_count(container) - len(container.streams))
        for sound in sounds.values():
            sound.finish()
        if moving is not None:
            moving.finish()
        _require_something(where, sounds, moving, log)
        end = end_oddities(container, plan, sounds, moving, log, account)
    state.oddities += [*log.oddities(), *end]
    cancelled_s = {index: sound.cancelled_s for index, sound in sounds.items()}
    state.drops += account.drops(plan.heads, cancelled_s, where, pictures=settings.pictures)
    for head in plan.heads.values():
        track = moving if head.kind == "video" and head.chosen else None
        state.streams.append(stream_facts(number, head, plan, sounds.get(head.index), track))


def _sound(
    number: int,
    head: StreamHead,
    plan: Plan,
    out: Path,
    settings: IngestSettings,
    state: _State,
    restarts: Restarts,
) -> SoundTrack:
    names = plan.outputs[head.index]
    files = [out / f".sound-{number}-{head.index}-{i}" for i in range(len(names))]
    sound = SoundTrack(
        files,
        mixed=plan.mixed,
        rate_out=settings.sample_rate_hz,
        tick=head.tick,
        zero=plan.zero,
        stop=_stop(head, plan),
        restarts=restarts,
        stream=head.index,
        counted=counted(plan.container),
    )
    for i, (name, file) in enumerate(zip(names, files, strict=True)):
        state.channels.append(_Channel(name, sound, file, i))
    return sound


def _stop(head: StreamHead, plan: Plan) -> Fraction | None:
    """Where a stream's presentation ends, for the containers that say so to the sample."""
    duration = head.stream.duration
    if "mov" not in plan.container or head.first is None or not duration or duration < 0:
        return None
    return head.first + duration * head.tick


def _moving(
    head: StreamHead,
    plan: Plan,
    out: Path,
    settings: IngestSettings,
    state: _State,
    observers: Sequence[FrameObserver],
    restarts: Restarts,
) -> PictureTrack:
    assert isinstance(head.stream, VideoStream)
    encoder = JpegEncoder(settings.picture_width, settings.picture_height, settings.jpeg_quality)
    state.pictures_file = out / ".pictures"
    state.picker = PicturePicker(state.pictures_file, encoder)
    state.pictures = PictureTrack(
        state.picker,
        observers,
        tick=head.tick,
        zero=plan.zero,
        nominal=nominal_duration(head),
        aspect=pixel_aspect(head.stream),
        longest_gap_us=settings.longest_filled_gap_s * US,
        restarts=restarts,
        stream=head.index,
        container=plan.container,
    )
    return state.pictures


def nominal_duration(head: StreamHead) -> Fraction:
    """Usual seconds per frame of a video stream."""
    assert isinstance(head.stream, VideoStream)
    rate = head.stream.average_rate or head.stream.guessed_rate or Fraction(25)
    return min(1 / Fraction(rate), Fraction(1)) if rate > 0 else Fraction(1, 25)


def _run(
    container: InputContainer,
    where: str,
    sounds: dict[int, SoundTrack],
    moving: PictureTrack | None,
    account: Account,
    progress: Progress | None,
) -> PacketLog:
    """Read all packets: those of chosen streams go to their tracks, all are counted."""
    log = PacketLog()
    wanted = {*sounds, *([moving.stream] if moving is not None else [])}
    told_us = 0

    def before(packet: av.Packet[av.stream.Stream]) -> None:
        if moving is not None and packet.stream.index == moving.stream:
            moving.sent(packet)

    for read in packets(container, wanted, log, where, before):
        sound = sounds.get(read.stream)
        if read.packet is not None:
            _count(account.tallies[read.stream], read, sound, moving)
        for frame in read.frames:
            if sound is not None and isinstance(frame, av.AudioFrame):
                sound.push(frame)
            elif moving is not None and isinstance(frame, av.VideoFrame):
                moving.push(frame)
        if progress is not None:
            done_us = max(
                moving.end_us if moving else 0,
                *(round_half_up(s.end * US) for s in sounds.values()),
                0,
            )
            if done_us - told_us >= US:
                told_us = done_us
                progress(done_us)
    return log


def _count(tally: Tally, read: Read, sound: SoundTrack | None, moving: PictureTrack | None) -> None:
    """Count a packet, and tell its track where it could not be decoded."""
    packet = read.packet
    assert packet is not None
    length = tally.read(packet)
    tally.decoded += len(read.frames)
    if not read.failed:
        return
    # Pictures before the first whole one hang on what came before the recording began.
    if sound is not None or tally.decoded:
        tally.lost += length
    if sound is not None:
        sound.lost(length * tally.tick)
    elif moving is not None:
        moving.lost(packet)


def _require_something(
    where: str, sounds: dict[int, SoundTrack], moving: PictureTrack | None, log: PacketLog
) -> None:
    if any(s.extents for s in sounds.values()) or (moving is not None and moving.frames):
        return
    broken = f"; {log.bad_packets} packets are broken" if log.bad_packets else ""
    raise MediaError(
        f"declares sound or pictures, but nothing in it can be decoded{broken}",
        where=where,
        todo="check that it plays, and copy or export it again",
    )


# --- all files together -----------------------------------------------------------------------


def _assemble(
    files: Sequence[DecodeSource], out: Path, settings: IngestSettings, state: _State
) -> tuple[Decoded, list[Drop]]:
    rate, longest_us = settings.sample_rate_hz, settings.longest_filled_gap_s * US
    moving = state.pictures if state.pictures is not None and state.pictures.frames else None
    sounds = [c.sound for c in state.channels if c.sound is not None]
    ends = [round_half_up(s.end * US) for s in sounds] + ([moving.end_us] if moving else [])
    duration_us = max(ends)
    spans = [s for sound in sounds for s in content(sound.extents, rate, longest_us)]
    spans += [Span(*span) for span in moving.spans_us] if moving else []
    segments = segments_of(spans, duration_us, longest_us)
    channels = state.channels or [_Channel(None, None, None)]
    padded: list[ChannelSpan] = []
    for number, channel in enumerate(channels):
        extents = channel.sound.extents if channel.sound else []
        write_channel(channel.file, extents, segments, rate, out / f"channel-{number}.i16")
        padded += padded_spans(number, extents, segments, rate)
    picks = state.picker.picks() if state.picker else []
    write_pictures(state.pictures_file if moving else None, picks, segments, out)
    for leftover in (*(c.file for c in channels), state.pictures_file):
        if leftover is not None:
            leftover.unlink()
    if not state.channels:
        state.oddities.append(Oddity(code="no_sound", detail="there is no sound; its channel is all padding"))
    gaps = _unwritten(spans, longest_us)
    decoded = Decoded(
        duration_us=duration_us,
        sample_rate_hz=rate,
        segments=tuple(segments),
        channels=tuple(c.speaker for c in channels),
        streams=tuple(state.streams),
        padded=tuple(padded),
        saturated_samples=sum({id(s): s.saturated_samples for s in sounds}.values()),
        saturated=tuple(_saturated(channels)),
        picture_width=settings.picture_width if moving else 0,
        picture_height=settings.picture_height if moving else 0,
        oddities=(*state.oddities, *gaps),
    )
    return decoded, [*state.drops, *_drops(files, decoded)]


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


def _saturated(channels: Sequence[_Channel]) -> list[ChannelSpan]:
    found: list[ChannelSpan] = []
    for number, channel in enumerate(channels):
        windows = channel.sound.saturated_windows[channel.of_track] if channel.sound else []
        spans = union(Span(w * WINDOW_US, (w + 1) * WINDOW_US) for w in windows)
        found += [ChannelSpan(channel=number, start_us=s.start_us, stop_us=s.stop_us) for s in spans]
    return found


def _drops(files: Sequence[DecodeSource], decoded: Decoded) -> list[Drop]:
    whole_us = decoded.duration_us // WINDOW_US * WINDOW_US
    rest_us = decoded.duration_us - whole_us
    if not rest_us:
        return []
    return [
        Drop(
            item=files[0].path.name,
            stage="decode",
            kind="trim",
            code="last_partial_window",
            reason=f"the last {rest_us / 1000:.3f} ms do not fill a window of 200 ms",
            start_us=whole_us,
            stop_us=decoded.duration_us,
        )
    ]
