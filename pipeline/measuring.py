"""The quality stage: the facts of every clip that a recording will be cut into, stored in the cache."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from corpus.pipeline.artifact import Kept
from corpus.pipeline.cache import Cache
from corpus.pipeline.versions import stage_key
from corpus.schemas.artifacts import Decoded, Voices
from corpus.schemas.codec import read_json, write_json
from corpus.schemas.conversation import Conversation
from corpus.schemas.drops import Drop
from corpus.schemas.pcm import Pcm, VoicePcm, read_activity
from corpus.schemas.quality import Quality
from corpus.schemas.settings import QualitySettings, Settings

if TYPE_CHECKING:
    from corpus.align.quality.dnsmos import Dnsmos
    from corpus.align.quality.measure import Told

_FILE = "quality.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredClip:
    """A future clip and its facts."""

    first_window: int
    windows: int
    quality: Quality


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Every clip of a recording, in order."""

    clips: tuple[MeasuredClip, ...]


def quality_stage(
    decode: Kept[Decoded],
    voices: Kept[Voices],
    conversation: Conversation,
    told: Told,
    settings: Settings,
    cache: Cache,
) -> Kept[Measured]:
    """The facts of every clip, filtered or not: they do not depend on the filters."""
    listener = _dnsmos(settings.quality) if settings.quality.dnsmos_stretches else None
    windows_per_clip = settings.clips.windows_per_clip
    decoded, head = decode.value, voices.value

    def fill(folder: Path) -> tuple[Measured, Sequence[Drop]]:
        from corpus.align.quality.measure import Part, Sound, measure
        from corpus.align.quality.talk import TalkIndex
        from corpus.shards.cut import stretches

        parts = [
            Part(first_window=one.first_window, windows=one.windows, written=one.written)
            for one in stretches(decoded.segments, windows_per_clip)
        ]
        sound = Sound(
            inputs=Pcm(decode.folder, len(decoded.channels), decoded.segments, decoded.sample_rate_hz),
            voices=VoicePcm(head, voices.folder, decode.folder),
            head=head,
            activity=read_activity(head, voices.folder),
        )
        talk = TalkIndex(conversation.turns, conversation.words)
        facts = measure(sound, talk, told, parts, listener)
        measured = Measured(
            clips=tuple(
                MeasuredClip(first_window=part.first_window, windows=part.windows, quality=quality)
                for part, quality in zip(parts, facts, strict=True)
            )
        )
        write_json(folder / _FILE, measured)
        return measured, []

    key = stage_key(
        "quality",
        decode=decode.digest,
        voices=voices.digest,
        talk=[list(conversation.turns), list(conversation.words)],
        told=told,
        windows_per_clip=windows_per_clip,
        model=listener.key if listener else None,
    )
    return cache.keep("quality", key, fill, lambda folder: read_json(Measured, folder / _FILE))


@functools.cache
def _dnsmos(settings: QualitySettings) -> Dnsmos:
    """Opened once per worker, and only where it is asked for."""
    from corpus.align.quality.dnsmos import Dnsmos

    return Dnsmos(settings.dnsmos_stretches)
