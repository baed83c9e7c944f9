"""Decoding a recording's files to sound per channel and one picture per window, on one clock.

One pass over each file feeds all its tracks; memory use does not depend on the length.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from av.audio.stream import AudioStream
from av.container import InputContainer
from av.video.stream import VideoStream

from corpus.ingest.account import Account, Tally, edit_drops
from corpus.ingest.choose import DecodeSource, Plan, choose
from corpus.ingest.demux import Demuxer, Packet
from corpus.ingest.facts import edit_oddities, end_oddities, stream_facts
from corpus.ingest.head import StreamHead
from corpus.ingest.media import open_reader
from corpus.ingest.moving import FrameObserver
from corpus.ingest.packets import Feed, Read
from corpus.ingest.tracks import Channel, Pictures, Tracks
from corpus.ingest.whole import last_partial_window, write_decoded
from corpus.schemas.artifacts import Decoded
from corpus.schemas.clock import US
from corpus.schemas.codec import to_json
from corpus.schemas.drops import Drop
from corpus.schemas.errors import MediaError
from corpus.schemas.recording import Oddity, Stream
from corpus.schemas.settings import IngestSettings

__all__ = ["DecodeSource", "FrameObserver", "decode_media"]

_Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class _FilePart:
    """The result of the pass over one file."""

    channels: list[Channel]
    pictures: Pictures | None
    streams: list[Stream]
    oddities: list[Oddity]
    drops: list[Drop]


def decode_media(
    files: Sequence[DecodeSource],
    out: Path,
    settings: IngestSettings,
    *,
    observers: Sequence[FrameObserver] = (),
    progress: _Progress | None = None,
) -> tuple[Decoded, list[Drop]]:
    """Decode into the existing empty folder `out`; the returned `Decoded` is also written to `decoded.json`.

    Raises:
        MediaError: a file is not a media file, or nothing in it can be decoded.
    """
    # One pass per file: the plans already agree on one zero, so no file has to wait for another.
    parts = [
        _pass(plan, Tracks(number, plan, out, settings, observers), number, settings, progress)
        for number, plan in enumerate(choose(files, settings))
    ]
    decoded = write_decoded(
        [channel for part in parts for channel in part.channels],
        [part.pictures for part in parts if part.pictures is not None],
        [stream for part in parts for stream in part.streams],
        [oddity for part in parts for oddity in part.oddities],
        out,
        settings,
    )
    (out / "decoded.json").write_text(to_json(decoded) + "\n", encoding="utf-8")
    drops = [drop for part in parts for drop in part.drops]
    return decoded, drops + last_partial_window(files[0].path.name, decoded)


def _pass(
    plan: Plan, tracks: Tracks, number: int, settings: IngestSettings, progress: _Progress | None
) -> _FilePart:
    where = plan.source.path.name
    with open_reader(plan.source.path) as (container, reader), closing(tracks), ExitStack() as opened:
        # Planning opened the file too, but its streams died with that container: bind the heads to this one.
        demuxer = Demuxer(plan.source.path, container, reader, heads_again(plan, container), opened)
        for head in demuxer.heads.values():
            if head.chosen:
                tracks.begin(head)
        # The account counts packets as they are read, independently of what the tracks make of them.
        account = Account({})
        feed = Feed(demuxer, plan.kinds, _Counter(demuxer, account))
        _follow(feed, tracks, account, progress)
        tracks.finish()
        # Only after finish(): short files hold all their sound in the clock until the end.
        if not tracks.something:
            raise _nothing(where, feed.bad_packets)
        account.unread, account.unread_bytes = demuxer.unread, reader.end.unread
        lists = [h.edits for h in demuxer.heads.values() if h.chosen and h.edits is not None]
        end = end_oddities(container, plan, tracks.end_us, demuxer.log.cut_off, account, reader.end.missing)
        for head in demuxer.heads.values():
            if head.joined:  # what its head said of it was not known yet
                head.describe()
    silent = {index: sound.cancelled_s for index, sound in tracks.sounds.items()}
    unfit = {index: sound.unfit_s for index, sound in tracks.sounds.items()}
    return _FilePart(
        channels=tracks.channels,
        pictures=tracks.pictures,
        streams=[stream_facts(number, h, plan, tracks.legs.get(h.index)) for h in demuxer.heads.values()],
        oddities=[*feed.oddities(), *edit_oddities(lists), *end],
        drops=[
            *account.drops(demuxer.heads, where, pictures=settings.pictures),
            *account.sound_drops(silent, unfit, where),
            *edit_drops(reader.film, lists, where),
        ],
    )


def heads_again(plan: Plan, container: InputContainer) -> dict[int, StreamHead]:
    """The heads found while planning, bound to the streams of the file opened again."""
    for index, head in plan.heads.items():
        stream = container.streams[index] if index < len(container.streams) else None
        if not isinstance(stream, AudioStream | VideoStream) or stream.type != head.kind:
            raise MediaError("was changed while it was read", where=plan.source.path.name)
        head.stream = stream
    return dict(plan.heads)


@dataclass(slots=True)
class _Counter:
    """Counts every packet of every stream."""

    demuxer: Demuxer
    account: Account

    def __call__(self, number: int, packet: Packet) -> None:
        tally = self.account.tallies.get(number)
        if tally is None:
            tick = Fraction(self.demuxer.streams[number].time_base or Fraction(1, US))
            cutter = self.demuxer.cutters.get(number)
            if cutter is not None:
                tick = Fraction(1, cutter.edits.per_second)
            tally = Tally(tick, counted=number in self.demuxer.heads, cutter=cutter)
            self.account.tallies[number] = tally
        tally.read(packet)


def _follow(feed: Feed, tracks: Tracks, account: Account, progress: _Progress | None) -> None:
    """Read all packets into the tracks."""
    reported_us = 0

    def before(track: int, packet: Packet) -> None:
        # Containers stamped in decoding order need each packet's stamp before the decoder reorders frames.
        if tracks.pictures is not None and track not in tracks.sounds:
            tracks.pictures.track.sent(packet)

    feed.before = before
    for read in feed:
        tracks.read(read, feed.demuxer.heads[read.stream])
        if read.packet is not None:
            _count(account.tallies[read.stream], read, tracks)
        if progress is not None and tracks.end_us - reported_us >= US:  # at most once a second of media
            reported_us = tracks.end_us
            progress(reported_us)


def _count(tally: Tally, read: Read, tracks: Tracks) -> None:
    """Count the frames of a packet; if it could not be decoded, inform its track."""
    packet = read.packet
    assert packet is not None
    tally.decoded += read.decoded
    if not read.failed:
        return
    sound = tracks.sounds.get(read.track)
    length = tally.length_of(packet)
    # Pictures before the first whole one hang on what came before the recording began.
    if sound is not None or tally.decoded:
        tally.lost += length
    if sound is not None:
        # A stream without stamps would close the gap up and shift everything after it.
        sound.lost(length * tally.tick)
    elif tracks.pictures is not None:
        tracks.pictures.track.lost(packet)


def _nothing(where: str, bad_packets: int) -> MediaError:
    broken = f"; {bad_packets} packets are broken" if bad_packets else ""
    return MediaError(
        f"declares sound or pictures, but nothing in it can be decoded{broken}",
        where=where,
        todo="check that it plays, and copy or export it again",
    )
