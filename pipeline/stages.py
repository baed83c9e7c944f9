"""The stages of one recording up to its labels, each cached under the digest of its inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from corpus.pipeline.artifact import Artifact, Kept
from corpus.pipeline.cache import Cache
from corpus.pipeline.reviewed import Texts, cues_as_decided
from corpus.pipeline.versions import stage_key
from corpus.schemas.answers import with_answers
from corpus.schemas.artifacts import Decoded, Voices
from corpus.schemas.codec import read_json, write_json
from corpus.schemas.conversation import Conversation, Turn, Word
from corpus.schemas.drops import Drop
from corpus.schemas.pcm import Pcm, VoicePcm
from corpus.schemas.settings import Settings

if TYPE_CHECKING:
    from corpus.align.diarize import Diarizer
    from corpus.align.look import Looked
    from corpus.align.separate.apply import Separating
    from corpus.align.transcribe import Transcriber


_TURNS_FILE, _WORDS_FILE, _CONVERSATION_FILE = "turns.json", "words.json", "conversation.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sure:
    start_us: int
    stop_us: int
    confidence: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Turns:
    turns: tuple[Turn, ...]
    sure: tuple[_Sure, ...] = ()
    """How sure the diarizer is about who talks, if known; ordered, disjoint spans."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    words: tuple[Word, ...]
    language: str = ""
    """The code of the language recognised; several are separated by spaces."""
    language_probability: float | None = None
    """Set if the recogniser detected the language itself."""


def diarize_stage(
    decode: Kept[Decoded],
    diarizer: Diarizer,
    settings: Settings,
    cache: Cache,
    sight: Artifact | None = None,
) -> Kept[Turns]:
    """Who speaks when, from the sound, and from faces if these are used."""
    # Not even in the key: sight settings must not redo a diarization that ignores faces.
    watched = sight if settings.diarize.faces else None

    def fill(folder: Path) -> tuple[Turns, Sequence[Drop]]:
        from corpus.schemas.sight import read_sight

        seen = read_sight(watched.folder) if watched is not None else None
        done = diarizer.diarized(pcm_of(decode), seen)
        sure = tuple(
            _Sure(start_us=start, stop_us=stop, confidence=value) for start, stop, value in done.sure
        )
        turns = Turns(turns=tuple(done.turns), sure=sure)
        write_json(folder / _TURNS_FILE, turns)
        return turns, done.drops

    key = stage_key(
        "diarize",
        decode=decode.digest,
        channels=decode.value.channels,
        model=diarizer.key,
        settings=settings.diarize,
        sight=watched.digest if watched else None,
    )
    return cache.keep("diarize", key, fill, lambda folder: read_json(Turns, folder / _TURNS_FILE))


def transcribe_stage(
    decode: Kept[Decoded],
    turns: Sequence[Turn],
    transcriber: Transcriber,
    settings: Settings,
    cache: Cache,
) -> Kept[Words]:
    """What was said, given who speaks when."""
    channel_of = None
    if decode.value.one_speaker_per_channel:
        channel_of = {str(name): i for i, name in enumerate(decode.value.channels)}

    def fill(folder: Path) -> tuple[Words, Sequence[Drop]]:
        done = transcriber(pcm_of(decode), turns, channel_of)
        said = Words(
            words=tuple(done.words), language=done.language, language_probability=done.language_probability
        )
        write_json(folder / _WORDS_FILE, said)
        return said, done.drops

    key = stage_key(
        "transcribe",
        decode=decode.digest,
        channel_of=channel_of,
        turns=list(turns),
        model=transcriber.key,
        settings=settings.transcribe,
    )
    return cache.keep("transcribe", key, fill, lambda folder: read_json(Words, folder / _WORDS_FILE))


def voices_stage(
    decode: Kept[Decoded],
    turns: Sequence[Turn],
    speakers: Sequence[str],
    cache: Cache,
    separating: Separating | None = None,
) -> Kept[Voices]:
    """One channel per speaker and the room; overlaps are separated if a separator passes its test."""

    def fill(folder: Path) -> tuple[Voices, Sequence[Drop]]:
        from corpus.align.voices import split_voices

        return split_voices(decode.value, decode.folder, turns, speakers, folder, separating)

    key = stage_key(
        "voices",
        decode=decode.digest,
        channels=decode.value.channels,
        turns=list(turns),
        speakers=list(speakers),
        separator=separating.key if separating else None,
    )
    return cache.keep("voices", key, fill, lambda folder: read_json(Voices, folder / "voices.json"))


def prosody_stage(
    decode: Kept[Decoded], voices: Kept[Voices], settings: Settings, cache: Cache
) -> Artifact | None:
    """How the voices sound; None if the labelers do not use prosody."""
    if not settings.cues.prosody:
        return None

    def fill(folder: Path) -> list[Drop]:
        from corpus.align.prosody.listen import listen
        from corpus.schemas.prosody import write_prosody

        sound = VoicePcm(voices.value, voices.folder, decode.folder)
        write_prosody(listen(sound, voices.value.speakers), folder)
        return []

    return cache.make("prosody", stage_key("prosody", voices=voices.digest), fill)


def label_stage(
    conversation: Conversation,
    settings: Settings,
    cache: Cache,
    reviews: Texts = (),
    sight: Artifact | None = None,
    prosody: Artifact | None = None,
) -> Kept[Conversation]:
    """The conversation with its cues after people's decisions, in canonical order, with ids."""

    def fill(folder: Path) -> tuple[Conversation, Sequence[Drop]]:
        from corpus.align.label import with_cues
        from corpus.schemas.prosody import read_prosody

        looked = _looked(conversation, settings, sight)
        tracks = read_prosody(prosody.folder) if prosody is not None else None
        heard = with_cues(conversation, settings.cues, tracks)
        seen = {entry.label for entry in looked.made}
        labelled = replace(
            heard,
            cues=(*heard.cues, *looked.cues),
            events=(*heard.events, *looked.events),
            labels_made=(*(entry for entry in heard.labels_made if entry.label not in seen), *looked.made),
        )
        whole, drops = cues_as_decided(labelled, reviews)
        whole = with_answers(whole, settings.cues)
        write_json(folder / _CONVERSATION_FILE, whole)
        return whole, [*looked.drops, *drops]

    key = stage_key(
        "label",
        conversation=conversation,
        settings=[settings.cues, settings.visual, settings.sight.enabled],
        sight=sight.digest if sight else None,
        reviews=reviews,
        prosody=prosody.digest if prosody else None,
    )
    return cache.keep("label", key, fill, _read_conversation)


def _looked(conversation: Conversation, settings: Settings, sight: Artifact | None) -> Looked:
    """What sight adds, unless a file gives the visual cues."""
    from corpus.align.look import NO_PICTURES, OFF, Looked, look, not_looked
    from corpus.schemas.sight import read_sight

    if any(entry.label == "visual" for entry in conversation.labels_made):
        return Looked()
    if sight is None:
        return not_looked(NO_PICTURES if settings.sight.enabled else OFF)
    return look(conversation, read_sight(sight.folder), settings.visual)


def pcm_of(decode: Kept[Decoded]) -> Pcm:
    head = decode.value
    return Pcm(decode.folder, len(head.channels), head.segments, head.sample_rate_hz)


def _read_conversation(folder: Path) -> Conversation:
    """The conversation of a label artifact."""
    return read_json(Conversation, folder / _CONVERSATION_FILE)
