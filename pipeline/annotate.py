"""Taking one recording from its files to a labelled conversation, in a worker."""

from __future__ import annotations

import errno
import os
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from corpus.pipeline import stages
from corpus.pipeline.artifact import Artifact, Kept
from corpus.pipeline.assemble import Draft, assemble
from corpus.pipeline.cache import Cache
from corpus.pipeline.clock import clock_stage
from corpus.pipeline.decoding import decode_and_look, with_names
from corpus.pipeline.identify import Identity, VanishedError
from corpus.pipeline.lengths import over_all
from corpus.pipeline.measuring import Measured, quality_stage
from corpus.pipeline.opened import open_diarizer, open_separating, open_transcriber
from corpus.pipeline.progress import Reporter
from corpus.pipeline.reviewed import Texts, talk_as_decided
from corpus.schemas.artifacts import Decoded, Voices
from corpus.schemas.conversation import Conversation, Turn
from corpus.schemas.drops import VANISHED, Drop
from corpus.schemas.errors import CorpusError, MissingError, StorageError
from corpus.schemas.settings import Settings

if TYPE_CHECKING:
    from corpus.align.annotation import Annotation

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnotateJob:
    """A worker's input for taking one recording up to its labels."""

    identity: Identity
    settings: Settings
    reviews: Texts = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotated:
    """A recording's artifacts, or the Drops that explain why there are none."""

    uri: str
    recording: str
    drops: tuple[Drop, ...]
    decode: str | None = None
    """Digests of the artifacts; None if the recording failed."""
    voices: str | None = None
    label: str | None = None
    quality: str | None = None
    sidecars: tuple[str, ...] = ()
    """Names of the annotation files used."""

    @property
    def built(self) -> bool:
        return self.label is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The results of a recording's stages, from which its clips are cut."""

    decode: Kept[Decoded]
    voices: Kept[Voices]
    label: Kept[Conversation]
    quality: Kept[Measured]


def annotate(job: AnnotateJob, cache: Cache) -> tuple[Annotated, Parts | None]:
    """Take one recording up to its labels; a failure of the recording is returned as a Drop, without parts.

    Raises:
        StorageError: the disk is full or gone; the build cannot continue.
        MissingError: a model or package is missing; the build cannot continue.
    """
    identity = job.identity
    reporter = Reporter(cache.scratch, identity.item.uri)
    done, failure = guarded(lambda: _annotate(job, cache, reporter), identity.item.uri, reporter, cache.root)
    if done is not None:
        return done
    drops = (over_all(failure, identity, job.settings, cache),) if failure else ()
    return Annotated(uri=identity.item.uri, recording=identity.recording, drops=drops), None


def guarded(
    work: Callable[[], Result], uri: str, reporter: Reporter, cache_root: Path
) -> tuple[Result | None, Drop | None]:
    """The result of a recording's work, or the Drop that explains why there is none.

    Raises:
        StorageError, MissingError: the build as a whole cannot continue.
    """

    def fault(code: str, reason: str) -> tuple[None, Drop]:
        return None, Drop(item=uri, stage=reporter.stage, kind="fault", code=code, reason=reason)

    try:
        return work(), None
    except (StorageError, MissingError):
        raise
    except VanishedError as error:
        return fault(VANISHED, str(error))
    except CorpusError as error:
        return fault("unusable", str(error))
    except OSError as error:
        if _is_of_the_disk(error, cache_root):
            raise StorageError(
                f"cannot write the cache: {error.strerror or error}",
                where=str(cache_root),
                todo="free some space or name another --cache; what is done is kept",
            ) from error
        return fault("unreadable", str(error))
    except Exception as error:  # a bug met in one recording must not end the build
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(place.filename).name}:{place.lineno}"
        return fault("crashed", f"please report this: {type(error).__name__}: {error} ({where})")
    finally:
        reporter.close()


_FULL = (errno.ENOSPC, errno.EROFS, errno.EDQUOT)
_OF_NO_FILE = (errno.EIO, errno.EMFILE, errno.ENFILE, errno.ESTALE)


def _is_of_the_disk(error: OSError, cache_root: Path) -> bool:
    """Whether the cache's disk failed; readers of the recording's files raise their own errors."""
    if error.filename is not None:
        return error.errno in _FULL or Path(os.fsdecode(error.filename)).is_relative_to(cache_root)
    short = error.errno is None and "requested and" in str(error)  # numpy's word for a full disk
    return short or error.errno in _FULL + _OF_NO_FILE


def _annotate(job: AnnotateJob, cache: Cache, reporter: Reporter) -> tuple[Annotated, Parts]:
    from corpus.align.quality.measure import Told

    identity, settings = job.identity, job.settings
    # Media first: everything else needs the recording's length.
    decode, sight = decode_and_look(identity, settings, cache, reporter)
    sidecar, sidecar_drops = _read_sidecars(identity, settings, decode.value)
    if sidecar.turns is None and settings.diarize.backend != "none":
        # where a file says who speaks when, it speaks of the clocks as they are
        reporter.at("clock")
        decode = clock_stage(decode, cache)
        decode = replace(decode, value=with_names(decode.value, identity))
    decoded = decode.value
    drops = [*decode.drops, *(sight.drops if sight else ()), *sidecar_drops]
    own_channels = tuple(str(name) for name in decoded.channels) if decoded.one_speaker_per_channel else ()

    heard, said = _turns_and_words(decode, sidecar, settings, cache, reporter, drops, sight)
    draft = Draft(
        recording=identity.recording,
        duration_us=decoded.duration_us,
        turns=heard.turns,
        words=said.words,
        cues=sidecar.cues,
        events=sidecar.events,
        speakers=own_channels or sidecar.speakers,
        named_speakers=(*sidecar.named_speakers, *identity.item.speakers),
    )
    conversation, left_out = assemble(identity.item.uri, draft)
    conversation = replace(conversation, labels_made=sidecar.labels_made)
    conversation, undecided = talk_as_decided(conversation, job.reviews)
    drops += [*left_out, *undecided]
    # Reviews of speakers, turns and words are applied by now, so voices are split as people decided.
    reporter.at("voices")
    separating = open_separating(settings, decoded, conversation)
    voices = stages.voices_stage(decode, conversation.turns, conversation.speakers, cache, separating)
    reporter.at("label")
    prosody = stages.prosody_stage(decode, voices, settings, cache)
    label = stages.label_stage(conversation, settings, cache, job.reviews, sight, prosody)
    reporter.at("quality")
    facts = Told(
        language=said.language or None,
        language_probability=said.language_probability,
        diarization_confidence=tuple((one.start_us, one.stop_us, one.confidence) for one in heard.sure),
    )
    quality = quality_stage(decode, voices, conversation, facts, settings, cache)
    drops += [*voices.drops, *label.drops, *quality.drops]
    annotated = Annotated(
        uri=identity.item.uri,
        recording=identity.recording,
        drops=tuple(_of(identity, drops)),
        decode=decode.digest,
        voices=voices.digest,
        label=label.digest,
        quality=quality.digest,
        sidecars=sidecar.used,
    )
    return annotated, Parts(decode=decode, voices=voices, label=label, quality=quality)


def _of(identity: Identity, drops: Iterable[Drop]) -> list[Drop]:
    """Drops under the recording's uri; the item that the stage named moves into the reason."""
    return [in_recording(identity.item.uri, drop) for drop in drops]


def in_recording(uri: str, drop: Drop) -> Drop:
    """The Drop under its recording's uri, with the stage's own name for the item before the reason."""
    named = drop.item in ("", uri) or drop.reason.startswith(drop.item)
    return replace(drop, item=uri, reason=drop.reason if named else f"{drop.item}: {drop.reason}")


def _read_sidecars(identity: Identity, settings: Settings, decoded: Decoded) -> tuple[Annotation, list[Drop]]:
    from corpus.align.doubtful import doubtful_words
    from corpus.align.sidecars import read_sidecars

    explicit = identity.item.sidecars is not None
    paths = [Path(mark.place) for mark in identity.sidecars] if settings.sidecars or explicit else []
    annotation, drops = read_sidecars(paths, decoded.duration_us)
    return annotation, [*drops, *doubtful_words(annotation.words or ())]


def _turns_and_words(
    decode: Kept[Decoded],
    sidecar: Annotation,
    settings: Settings,
    cache: Cache,
    reporter: Reporter,
    drops: list[Drop],
    sight: Artifact | None,
) -> tuple[stages.Turns, stages.Words]:
    """Turns and words from the sidecars if they give them, otherwise from the models."""
    heard = stages.Turns(turns=sidecar.turns or ())
    if sidecar.turns is None:
        reporter.at("diarize")
        heard, more = _diarized(decode, settings, cache, sight)
        drops += more
    turns = heard.turns
    if sidecar.words is None:
        reporter.at("transcribe")
        said, more = _transcribed(decode, turns, settings, cache)
    elif sidecar.turns is None:
        from corpus.align.attribute import attribute_words

        words, lost = attribute_words(sidecar.words, turns)
        said, more = stages.Words(words=tuple(words)), tuple(lost)
    else:
        return heard, stages.Words(words=sidecar.words)
    drops += more
    return heard, said


def _diarized(
    decode: Kept[Decoded], settings: Settings, cache: Cache, sight: Artifact | None
) -> tuple[stages.Turns, tuple[Drop, ...]]:
    nobody, decoded = stages.Turns(turns=()), decode.value
    if not decoded.channels or not decoded.windows:
        return nobody, ()
    diarizer = open_diarizer(settings.diarize, decoded.channels if decoded.one_speaker_per_channel else None)
    if diarizer is None:
        return nobody, ()
    diarized = stages.diarize_stage(decode, diarizer, settings, cache, sight)
    return diarized.value, diarized.drops


def _transcribed(
    decode: Kept[Decoded], turns: tuple[Turn, ...], settings: Settings, cache: Cache
) -> tuple[stages.Words, tuple[Drop, ...]]:
    nothing = stages.Words(words=())
    if not decode.value.channels or settings.transcribe.backend == "none":
        return nothing, ()
    if not turns:
        reason = "nobody was found to talk, so there is nobody to give words to and nothing was transcribed"
        if settings.diarize.backend == "none":
            reason += '; diarize.backend is "none" and no sidecar has turns'
        silent = Drop(item="", stage="transcribe", kind="trim", code="no_turns", reason=reason)
        return nothing, (silent,)
    transcriber = open_transcriber(settings.transcribe)
    transcribed = stages.transcribe_stage(decode, turns, transcriber, settings, cache)
    return transcribed.value, transcribed.drops
