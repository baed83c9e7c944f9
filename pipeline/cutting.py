"""Cutting a labelled recording into clips: the last stage before shards."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from corpus.pipeline.annotate import Parts, guarded, in_recording
from corpus.pipeline.cache import Cache
from corpus.pipeline.filters import first_windows, left_out
from corpus.pipeline.identify import Identity
from corpus.pipeline.lengths import over_all
from corpus.pipeline.progress import Reporter
from corpus.pipeline.versions import stage_key
from corpus.schemas.artifacts import Decoded
from corpus.schemas.conversation import Conversation
from corpus.schemas.drops import Drop
from corpus.schemas.light import load_pyarrow_lightly
from corpus.schemas.recording import Recording, SourceFile
from corpus.schemas.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class CutJob:
    """What a worker needs to cut one recording."""

    identity: Identity
    parts: Parts
    split: str
    settings: Settings
    config: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """A recording's clips as a tar segment in the cache, or the reason why there is none."""

    uri: str
    recording: str
    split: str
    drops: tuple[Drop, ...]
    segment: str | None = None
    """Digest of the artifact; None if cutting failed."""


def cut_recording(job: CutJob, cache: Cache) -> Cut:
    """Cut one recording; its failure is returned as a Drop, a full disk is raised."""
    reporter = Reporter(cache.scratch, job.identity.item.uri)
    reporter.at("cut")
    done, failure = guarded(lambda: _cut(job, cache), job.identity.item.uri, reporter, cache.root)
    if done is not None:
        return done
    uri, recording = job.identity.item.uri, job.identity.recording
    drops = (over_all(failure, job.identity, job.settings, cache),) if failure else ()
    return Cut(uri=uri, recording=recording, split=job.split, drops=drops)


def _cut(job: CutJob, cache: Cache) -> Cut:
    from corpus.shards.cut import Material, cut

    parts, uri = job.parts, job.identity.item.uri
    decoded, conversation = parts.decode.value, parts.label.value
    recording = recording_of(job.identity, decoded, conversation)
    clips = parts.quality.value.clips
    filtered = left_out(uri, clips, job.settings.filters)

    material = Material(
        recording=recording,
        conversation=conversation,
        decoded=decoded,
        decode_dir=parts.decode.folder,
        voices=parts.voices.value,
        voices_dir=parts.voices.folder,
    )

    def fill(folder: Path) -> list[Drop]:
        load_pyarrow_lightly()
        return cut(
            material,
            folder,
            split=job.split,
            settings=job.settings.clips,
            config=job.config,
            quality={clip.first_window: clip.quality for clip in clips},
            left_out=first_windows(filtered),
        )

    # The key holds the digests of the artifacts, not their content: those digests vouch for it.
    key = stage_key(
        "cut",
        inputs=[part.digest for part in (parts.decode, parts.voices, parts.label, parts.quality)],
        recording=recording,
        split=job.split,
        settings=job.settings.clips,
        config=job.config,
        left_out=sorted(first_windows(filtered)),
    )
    artifact = cache.make("cut", key, fill)
    return Cut(
        uri=uri,
        recording=job.identity.recording,
        split=job.split,
        segment=artifact.digest,
        drops=(*filtered, *(in_recording(uri, drop) for drop in artifact.drops)),
    )


def _named_speakers(identity: Identity, conversation: Conversation) -> tuple[str, ...]:
    """Everybody whom the manifest or the conversation names; they bind recordings in a split."""
    tracks = [file.speaker for file in identity.item.files if file.speaker is not None]
    return tuple(dict.fromkeys([*identity.item.speakers, *tracks, *conversation.named_speakers]))


def recording_of(identity: Identity, decoded: Decoded, conversation: Conversation) -> Recording:
    """What is known about a recording once it is decoded. Contains nothing specific to the machine."""
    item = identity.item
    files = tuple(
        SourceFile(
            uri=file.uri,
            sha256=mark.sha256,
            bytes=mark.bytes,
            speaker=file.speaker,
            offset_us=file.offset_us,
        )
        for file, mark in zip(item.files, identity.media, strict=True)
    )
    return Recording(
        hash=identity.recording,
        uri=item.uri,
        files=files,
        streams=decoded.streams,
        duration_us=decoded.duration_us,
        licence=item.licence,
        consent=item.consent,
        conversation=item.conversation,
        speakers=_named_speakers(identity, conversation),
        oddities=decoded.oddities,
    )
