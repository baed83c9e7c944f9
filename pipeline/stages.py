"""The stages of one recording up to its labels, each cached under the digest of its inputs."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from corpus.pipeline.artifact import Artifact
from corpus.pipeline.cache import Cache
from corpus.pipeline.identify import FileMark, Identity, unchanged
from corpus.pipeline.inputs import ItemFile
from corpus.pipeline.reviewed import Texts, cues_as_decided
from corpus.pipeline.versions import stage_key
from corpus.schemas.answers import with_answers
from corpus.schemas.artifacts import Decoded, Voices
from corpus.schemas.codec import from_json, to_json
from corpus.schemas.conversation import Conversation, Turn, Word
from corpus.schemas.drops import Drop, StageName
from corpus.schemas.pcm import Pcm, VoicePcm
from corpus.schemas.settings import IngestSettings, Settings

if TYPE_CHECKING:
    from corpus.align.diarize import Diarizer
    from corpus.align.look import Looked
    from corpus.align.separate.apply import Separating
    from corpus.align.transcribe import Transcriber
    from corpus.ingest.decode import DecodeSource, FrameObserver

Progress = Callable[[StageName, float], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sure:
    start_us: int
    stop_us: int
    confidence: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Turns:
    turns: tuple[Turn, ...]
    sure: tuple[_Sure, ...] = ()
    """How sure it is who talks, where the diarizer knows; in order and apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    words: tuple[Word, ...]
    language: str = ""
    """The code of the language recognised; several with spaces between."""
    language_probability: float | None = None
    """Where the recogniser found it by itself."""


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
) -> Artifact:
    """Sound per channel and a picture per window, from the media files; observers see every frame."""

    def fill(folder: Path) -> list[Drop]:
        return _decode(identity, settings, folder, progress, observers)

    return cache.make("decode", decode_key(identity, settings), fill)


def _sight_key(identity: Identity, settings: Settings) -> str:
    from corpus.align.sight import networks

    files = [[mark.sha256, file.offset_us] for mark, file in _files_of(identity)]
    ingest = _ingest_settings(identity, settings)
    # Only the ingest settings that move or choose pictures; their size does not matter.
    times = [ingest.channels, ingest.longest_filled_gap_s]
    return stage_key("sight", files=files, times=times, settings=settings.sight, model=networks.key())


def decode_and_look(
    identity: Identity, settings: Settings, cache: Cache, progress: Progress
) -> tuple[Artifact, Artifact | None]:
    """Decoding, and what is seen, both from one pass; None where nothing is to be looked at.

    Where only the settings of sight have changed, the picture alone is decoded once more.
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
    head = decoded_of(identity, decode)
    if not head.picture_width:
        return decode, None
    if decoded_before:
        _look_again(identity, settings, cache, progress, watcher, head)
    return decode, cache.make("sight", key, watcher.write)


def _look_again(
    identity: Identity,
    settings: Settings,
    cache: Cache,
    progress: Progress,
    watcher: FrameObserver,
    head: Decoded,
) -> None:
    """Show the pictures once more, at exactly the times that decoding gave them."""
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
) -> list[Drop]:
    from corpus.ingest.decode import decode_media

    with unchanged(identity):
        total_us = max(1, _expected_us(identity))
        _, drops = decode_media(
            _sources(identity),
            folder,
            _ingest_settings(identity, settings),
            observers=observers,
            progress=lambda us: progress("decode", us / total_us),
        )
    if len(identity.media) > 1:
        return drops
    # An artifact is keyed by content, and may be used for a file of another name.
    return [
        replace(drop, item="") if drop.item == Path(identity.media[0].place).name else drop for drop in drops
    ]


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
    decode: Artifact,
    decoded: Decoded,
    diarizer: Diarizer,
    settings: Settings,
    cache: Cache,
    sight: Artifact | None = None,
) -> Artifact:
    """Who speaks when, from the sound, and from the faces where they may vote."""
    # Not even in the key: sight settings must not redo a diarization that ignores faces.
    watched = sight if settings.diarize.faces else None

    def fill(folder: Path) -> list[Drop]:
        from corpus.schemas.sight import read_sight

        seen = read_sight(watched.folder) if watched is not None else None
        done = diarizer.diarized(pcm_of(decode, decoded), seen)
        sure = tuple(
            _Sure(start_us=start, stop_us=stop, confidence=value) for start, stop, value in done.sure
        )
        (folder / "turns.json").write_text(
            to_json(Turns(turns=tuple(done.turns), sure=sure)), encoding="utf-8"
        )
        return done.drops

    key = stage_key(
        "diarize",
        decode=decode.digest,
        channels=decoded.channels,
        model=diarizer.key,
        settings=settings.diarize,
        sight=watched.digest if watched else None,
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
        done = transcriber(pcm_of(decode, decoded), turns, channel_of)
        said = Words(
            words=tuple(done.words), language=done.language, language_probability=done.language_probability
        )
        (folder / "words.json").write_text(to_json(said), encoding="utf-8")
        return done.drops

    key = stage_key(
        "transcribe",
        decode=decode.digest,
        channel_of=channel_of,
        turns=list(turns),
        model=transcriber.key,
        settings=settings.transcribe,
    )
    return cache.make("transcribe", key, fill)


def voices_stage(
    decode: Artifact,
    decoded: Decoded,
    turns: Sequence[Turn],
    speakers: Sequence[str],
    cache: Cache,
    separating: Separating | None = None,
) -> Artifact:
    """One channel per speaker and the room; a separator takes overlaps apart where it passes its test."""

    def fill(folder: Path) -> list[Drop]:
        from corpus.align.voices import split_voices

        _, drops = split_voices(decoded, decode.folder, turns, speakers, folder, separating)
        return drops

    key = stage_key(
        "voices",
        decode=decode.digest,
        channels=decoded.channels,
        turns=list(turns),
        speakers=list(speakers),
        separator=separating.key if separating else None,
    )
    return cache.make("voices", key, fill)


def prosody_stage(decode: Artifact, voices: Artifact, settings: Settings, cache: Cache) -> Artifact | None:
    """How the voices sound; None where the labelers are not to listen."""
    if not settings.cues.prosody:
        return None

    def fill(folder: Path) -> list[Drop]:
        from corpus.align.prosody.listen import listen
        from corpus.schemas.prosody import write_prosody

        place = voices.folder / "voices.json"
        head = from_json(Voices, place.read_bytes(), where=str(place))
        sound = VoicePcm(head, voices.folder, decode.folder)
        write_prosody(listen(sound, head.speakers), folder)
        return []

    return cache.make("prosody", stage_key("prosody", voices=voices.digest), fill)


def label_stage(
    conversation: Conversation,
    settings: Settings,
    cache: Cache,
    reviews: Texts = (),
    sight: Artifact | None = None,
    prosody: Artifact | None = None,
) -> Artifact:
    """The conversation with its cues as people left them, in canonical order, with ids."""

    def fill(folder: Path) -> list[Drop]:
        from corpus.align.label import with_cues
        from corpus.schemas.prosody import read_prosody

        looked = _looked(conversation, settings, sight)
        tracks = read_prosody(prosody.folder) if prosody is not None else None
        heard = with_cues(conversation, settings.cues, tracks)
        seen = {made.label for made in looked.made}
        labelled = replace(
            heard,
            cues=(*heard.cues, *looked.cues),
            events=(*heard.events, *looked.events),
            labels_made=(*(made for made in heard.labels_made if made.label not in seen), *looked.made),
        )
        whole, drops = cues_as_decided(labelled, reviews)
        whole = with_answers(whole, settings.cues)
        (folder / "conversation.json").write_text(to_json(whole), encoding="utf-8")
        return [*looked.drops, *drops]

    key = stage_key(
        "label",
        conversation=conversation,
        settings=[settings.cues, settings.visual, settings.sight.enabled],
        sight=sight.digest if sight else None,
        reviews=reviews,
        prosody=prosody.digest if prosody else None,
    )
    return cache.make("label", key, fill)


def _looked(conversation: Conversation, settings: Settings, sight: Artifact | None) -> Looked:
    """What sight adds, where no file says which visual cues there are."""
    from corpus.align.look import NO_PICTURES, OFF, Looked, look, not_looked
    from corpus.schemas.sight import read_sight

    if any(made.label == "visual" for made in conversation.labels_made):
        return Looked()
    if sight is None:
        return not_looked(NO_PICTURES if settings.sight.enabled else OFF)
    return look(conversation, read_sight(sight.folder), settings.visual)


def pcm_of(decode: Artifact, head: Decoded) -> Pcm:
    return Pcm(decode.folder, len(head.channels), head.segments, head.sample_rate_hz)


def turns_of(diarize: Artifact) -> Turns:
    path = diarize.folder / "turns.json"
    return from_json(Turns, path.read_bytes(), where=str(path))


def words_of(transcribe: Artifact) -> Words:
    path = transcribe.folder / "words.json"
    return from_json(Words, path.read_bytes(), where=str(path))


def conversation_of(label: Artifact) -> Conversation:
    path = label.folder / "conversation.json"
    return from_json(Conversation, path.read_bytes(), where=str(path))
