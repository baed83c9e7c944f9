"""The stages of one recording up to its labels, each kept in the cache under what decides it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from corpus.pipeline.cache import Artifact, Cache
from corpus.pipeline.identify import Identity
from corpus.pipeline.reviewed import Texts, cues_as_decided
from corpus.pipeline.versions import stage_versions
from corpus.schemas.answers import with_answers
from corpus.schemas.artifacts import Decoded, Voices
from corpus.schemas.codec import digest, from_json, to_json, to_plain
from corpus.schemas.conversation import Conversation, Turn, Word
from corpus.schemas.drops import Drop
from corpus.schemas.pcm import Pcm
from corpus.schemas.settings import CueSettings, IngestSettings, Settings

if TYPE_CHECKING:
    from corpus.align.diarize import Diarizer
    from corpus.align.transcribe import Transcriber

Progress = Callable[[str, float], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Turns:
    turns: tuple[Turn, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    words: tuple[Word, ...]


def _key(stage: str, **parts: object) -> str:
    return digest({**stage_versions(stage), **{name: to_plain(part) for name, part in parts.items()}})


def ingest_settings(identity: Identity, settings: Settings) -> IngestSettings:
    """The settings with the manifest's word on this recording's channels."""
    channels = identity.item.channels
    return replace(settings.ingest, channels=channels) if channels else settings.ingest  # type: ignore[arg-type]


def decode_key(identity: Identity, settings: Settings) -> str:
    files = [
        [mark.sha256, file.speaker, file.offset_us]
        for mark, file in zip(identity.media, identity.item.files, strict=True)
    ]
    return _key("decode", files=files, settings=ingest_settings(identity, settings))


def decode_stage(identity: Identity, settings: Settings, cache: Cache, progress: Progress) -> Artifact:
    """Sound per channel and a picture per window, from the media files."""

    def fill(folder: Path) -> list[Drop]:
        from corpus.ingest.decode import DecodeSource, decode

        total_us = max(1, _expected_us(identity))
        sources = [
            DecodeSource(path=Path(mark.place), speaker=file.speaker, offset_us=file.offset_us)
            for mark, file in zip(identity.media, identity.item.files, strict=True)
        ]
        _, drops = decode(
            sources,
            folder,
            ingest_settings(identity, settings),
            progress=lambda us: progress("decode", us / total_us),
        )
        return drops

    return cache.make("decode", decode_key(identity, settings), fill)


def _expected_us(identity: Identity) -> int:
    from corpus.ingest.probe import probe

    return max(probe(Path(mark.place)).duration_us or 0 for mark in identity.media)


def decoded_of(identity: Identity, artifact: Artifact) -> Decoded:
    """The decode stage's head; channels that hold one speaker each have the manifest's names, or S1, S2 …"""
    path = artifact.folder / "decoded.json"
    decoded = from_json(Decoded, path.read_bytes(), where=str(path))
    if not decoded.one_speaker_per_channel:
        return decoded
    given = identity.item.speakers
    if len(given) == len(decoded.channels):
        return replace(decoded, channels=given)
    names = (name or f"S{number}" for number, name in enumerate(decoded.channels, start=1))
    return replace(decoded, channels=tuple(names))


def diarize_stage(
    decode: Artifact, decoded: Decoded, diarizer: Diarizer, settings: Settings, cache: Cache
) -> Artifact:
    """Who speaks when, from the sound."""

    def fill(folder: Path) -> list[Drop]:
        turns, drops = diarizer(pcm_of(decode, decoded))
        (folder / "turns.json").write_text(to_json(Turns(turns=tuple(turns))), encoding="utf-8")
        return drops

    key = _key(
        "diarize",
        decode=decode.digest,
        channels=decoded.channels,
        model=diarizer.key,
        settings=settings.diarize,
    )
    return cache.make("diarize", key, fill)


def transcribe_stage(
    decode: Artifact,
    decoded: Decoded,
    turns: Sequence[Turn],
    transcriber: Transcriber,
    settings: Settings,
    cache: Cache,
) -> Artifact:
    """What was said, given who speaks when."""
    channel_of = None
    if decoded.one_speaker_per_channel:
        channel_of = {str(name): i for i, name in enumerate(decoded.channels)}

    def fill(folder: Path) -> list[Drop]:
        words, drops = transcriber(pcm_of(decode, decoded), turns, channel_of)
        (folder / "words.json").write_text(to_json(Words(words=tuple(words))), encoding="utf-8")
        return drops

    key = _key(
        "transcribe",
        decode=decode.digest,
        channel_of=channel_of,
        turns=list(turns),
        model=transcriber.key,
        settings=settings.transcribe,
    )
    return cache.make("transcribe", key, fill)


def voices_stage(
    decode: Artifact, decoded: Decoded, turns: Sequence[Turn], speakers: Sequence[str], cache: Cache
) -> Artifact:
    """One channel per speaker and the room."""

    def fill(folder: Path) -> list[Drop]:
        from corpus.align.voices import split_voices

        _, drops = split_voices(decoded, decode.folder, turns, speakers, folder)
        return drops

    key = _key(
        "voices",
        decode=decode.digest,
        channels=decoded.channels,
        turns=list(turns),
        speakers=list(speakers),
    )
    return cache.make("voices", key, fill)


def label_stage(
    conversation: Conversation, settings: CueSettings, cache: Cache, reviews: Texts = ()
) -> Artifact:
    """The conversation with its cues as people left them, in canonical order, with ids."""

    def fill(folder: Path) -> list[Drop]:
        from corpus.align.label import with_cues

        whole, drops = cues_as_decided(with_cues(conversation, settings), reviews)
        whole = with_answers(whole, settings)
        (folder / "conversation.json").write_text(to_json(whole), encoding="utf-8")
        return drops

    decided = {"reviews": reviews} if reviews else {}
    return cache.make("label", _key("label", conversation=conversation, settings=settings, **decided), fill)


def pcm_of(artifact: Artifact, head: Decoded | Voices) -> Pcm:
    channels = len(head.channels) if isinstance(head, Decoded) else len(head.speakers) + 1
    return Pcm(artifact.folder, channels, head.segments, head.sample_rate_hz)


def turns_of(diarize: Artifact) -> tuple[Turn, ...]:
    path = diarize.folder / "turns.json"
    return from_json(Turns, path.read_bytes(), where=str(path)).turns


def words_of(transcribe: Artifact) -> tuple[Word, ...]:
    path = transcribe.folder / "words.json"
    return from_json(Words, path.read_bytes(), where=str(path)).words


def conversation_of(label: Artifact) -> Conversation:
    path = label.folder / "conversation.json"
    return from_json(Conversation, path.read_bytes(), where=str(path))
