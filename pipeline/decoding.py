"""Decoding a recording and analysing its pictures, in one pass over the files."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from corpus.pipeline.artifact import Artifact, Kept
from corpus.pipeline.cache import Cache
from corpus.pipeline.identify import Identity, unchanged
from corpus.pipeline.items import ItemFile
from corpus.pipeline.versions import stage_key
from corpus.schemas.artifacts import Decoded
from corpus.schemas.codec import read_json
from corpus.schemas.drops import Drop, StageName
from corpus.schemas.marks import FileMark
from corpus.schemas.settings import IngestSettings, Settings

if TYPE_CHECKING:
    from corpus.ingest.decode import DecodeSource, FrameObserver

Progress = Callable[[StageName, float], None]


def _ingest_settings(identity: Identity, settings: Settings) -> IngestSettings:
    """The settings, with the manifest's `channels` for this recording."""
    channels = identity.item.channels
    return replace(settings.ingest, channels=channels) if channels else settings.ingest  # type: ignore[arg-type]


def decode_key(identity: Identity, settings: Settings) -> str:
    files = [
        [mark.sha256, file.speaker, file.offset_us]
        for mark, file in zip(identity.media, identity.item.files, strict=True)
    ]
    return stage_key("decode", files=files, settings=_ingest_settings(identity, settings))


def _decode_stage(
    identity: Identity,
    settings: Settings,
    cache: Cache,
    progress: Progress,
    observers: Sequence[FrameObserver] = (),
) -> Kept[Decoded]:
    """Decode media files to sound per channel and a picture per window; observers see every frame."""

    def fill(folder: Path) -> tuple[Decoded, Sequence[Drop]]:
        return _decode(identity, settings, folder, progress, observers)

    decode = cache.keep("decode", decode_key(identity, settings), fill, read_decoded)
    return replace(decode, value=with_names(decode.value, identity))


def _sight_key(identity: Identity, settings: Settings) -> str:
    from corpus.align.sight import networks

    files = [[mark.sha256, file.offset_us] for mark, file in _files_of(identity)]
    ingest = _ingest_settings(identity, settings)
    # Only the ingest settings that move or choose pictures; their size does not matter.
    times = [ingest.channels, ingest.longest_filled_gap_s]
    models = networks.keys(settings.sight)
    return stage_key("sight", files=files, times=times, settings=settings.sight, model=models)


def decode_and_look(
    identity: Identity, settings: Settings, cache: Cache, progress: Progress
) -> tuple[Kept[Decoded], Artifact | None]:
    """The decoded recording and what is seen in it, from one pass; None if sight is off.

    If only the settings of sight have changed, only the picture is decoded again.
    """
    if not (settings.sight.enabled and settings.ingest.pictures):
        return _decode_stage(identity, settings, cache, progress), None
    key = _sight_key(identity, settings)
    # Looked at before: decode without the observer, which costs as much as the decoding.
    seen = cache.get("sight", key)
    if seen is not None:
        return _decode_stage(identity, settings, cache, progress), seen
    from corpus.align.sight.watch import Watcher

    watcher = Watcher(settings.sight)
    decoded_before = cache.get("decode", decode_key(identity, settings)) is not None
    decode = _decode_stage(identity, settings, cache, progress, (watcher,))
    if not decode.value.picture_width:
        return decode, None
    if decoded_before:
        _look_again(identity, settings, cache, progress, watcher, decode.value)
    return decode, cache.make("sight", key, watcher.write)


def _look_again(
    identity: Identity,
    settings: Settings,
    cache: Cache,
    progress: Progress,
    watcher: FrameObserver,
    head: Decoded,
) -> None:
    """Show the pictures again, at exactly the times that decoding gave them."""
    if any(oddity.code == "restart" for stream in head.streams for oddity in stream.oddities):
        with tempfile.TemporaryDirectory(dir=cache.scratch) as folder:
            _decode(identity, settings, Path(folder), progress, (watcher,))
        return
    from corpus.ingest.watch import watch

    with unchanged(identity):
        watch(_sources(identity), _ingest_settings(identity, settings), (watcher,))


def _decode(
    identity: Identity,
    settings: Settings,
    folder: Path,
    progress: Progress,
    observers: Sequence[FrameObserver],
) -> tuple[Decoded, Sequence[Drop]]:
    from corpus.ingest.decode import decode_media

    with unchanged(identity):
        total_us = max(1, _expected_us(identity))
        decoded, drops = decode_media(
            _sources(identity),
            folder,
            _ingest_settings(identity, settings),
            observers=observers,
            progress=lambda us: progress("decode", us / total_us),
        )
    if len(identity.media) > 1:
        return decoded, drops
    # An artifact is keyed by content, and may be used for a file of another name.
    name = Path(identity.media[0].place).name
    return decoded, [replace(drop, item="") if drop.item == name else drop for drop in drops]


def _files_of(identity: Identity) -> list[tuple[FileMark, ItemFile]]:
    return list(zip(identity.media, identity.item.files, strict=True))


def _sources(identity: Identity) -> list[DecodeSource]:
    from corpus.ingest.decode import DecodeSource

    return [
        DecodeSource(path=Path(mark.place), speaker=file.speaker, offset_us=file.offset_us)
        for mark, file in _files_of(identity)
    ]


def _expected_us(identity: Identity) -> int:
    from corpus.ingest.probe import probe_media

    return max(probe_media(Path(mark.place)).duration_us or 0 for mark in identity.media)


def read_decoded(folder: Path) -> Decoded:
    """The head of a decode artifact."""
    return read_json(Decoded, folder / "decoded.json")


def with_names(decoded: Decoded, identity: Identity) -> Decoded:
    """Channels that hold one speaker each with the manifest's names, or S1, S2 …"""
    if not decoded.one_speaker_per_channel:
        return decoded
    given = identity.item.speakers
    if len(given) == len(decoded.channels):
        return replace(decoded, channels=given)
    names = (name or f"S{number}" for number, name in enumerate(decoded.channels, start=1))
    return replace(decoded, channels=tuple(names))
