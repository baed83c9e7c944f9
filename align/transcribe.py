"""What was said, by a recogniser; when, by an aligner; each word given to the speaker whose turn is there.

The whole mix is recognised, not turn by turn: on real conversations that gives fewer errors, since
the network hears its context. Silences of more than 20 s are left out, long stretches are cut at the
longest silence near five minutes, so memory does not grow with the length.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from corpus.align.attribute import TurnIndex
from corpus.align.backend import MODEL_RATE_HZ
from corpus.align.diarize import heard, to_model_rate
from corpus.align.forced import Aligner, Read, open_aligner
from corpus.align.heard import Heard, plain, with_length
from corpus.align.invented import SHORTEST_WORD_US, without_invented
from corpus.align.languages import AUTO, POSSIBLE, Language, in_language, likeliest, pieces, with_neighbours
from corpus.align.recogniser import Recogniser, Recognising, open_recogniser
from corpus.align.unheard import newly_heard, together, unheard
from corpus.align.whose_words import attributed
from corpus.schemas.clock import sample_at, us_of_sample
from corpus.schemas.codec import digest
from corpus.schemas.conversation import Turn, Word
from corpus.schemas.drops import Drop
from corpus.schemas.pcm import Pcm
from corpus.schemas.settings import TranscribeSettings
from corpus.schemas.span import Span, intersect, union

VERSION = "transcribe/8"
SKIPPED_SILENCE_US = 20_000_000
"""A longer stretch without a turn is not recognised, except for half of this on either side."""
LONGEST_STRETCH_US = 300_000_000
CUT_WITHIN_US = 120_000_000
"""A long stretch is cut at the longest silence in this last part of it."""
PROMPTED_LANGUAGE = "en"
"""The language of the default prompt; another language is recognised without one."""


@dataclass(frozen=True, slots=True)
class Transcript:
    """What was said in a recording."""

    words: list[Word]
    drops: list[Drop]
    language: str
    """Its code; several codes, with spaces between, if channels differ; empty if nothing was recognised."""
    language_probability: float | None = None
    """The least of the channels', if the language was detected and not set."""


class Transcriber(Protocol):
    """Finds the words of a recording whose turns are known."""

    key: str
    """Digest of weights, settings and library versions."""

    def __call__(
        self, pcm: Pcm, turns: Sequence[Turn], channel_of: Mapping[str, int] | None
    ) -> Transcript: ...

    def words_of(self, sound: npt.NDArray[np.float32]) -> list[str]:
        """The words of sound at 16 kHz, in lower case, in order."""
        ...


def open_transcriber(settings: TranscribeSettings, models: Path | None = None) -> Transcriber:
    """A transcriber for the settings' backend; its model is loaded at the first recording.

    Raises:
        MissingModelError: weights are not on this machine.
        MissingDependencyError: faster-whisper, or what aligns words, is not installed.
        SettingsError: an unknown backend, or a GPU that is not there.
    """
    recognising = open_recogniser(settings, models)
    aligner = open_aligner() if settings.align and not recognising.aligns else None
    return _Transcriber(settings, recognising, aligner)


class _Transcriber:
    def __init__(
        self, settings: TranscribeSettings, recognising: Recognising, aligner: Aligner | None
    ) -> None:
        self.key = digest([VERSION, recognising.identity, settings, aligner.key if aligner else None])
        self._settings = settings
        self._recognising = recognising
        self._model: Recogniser | None = None
        self._aligner = aligner

    def __call__(self, pcm: Pcm, turns: Sequence[Turn], channel_of: Mapping[str, int] | None) -> Transcript:
        if channel_of is None:
            return self._words(pcm, turns, None)
        parts = [
            self._words(pcm, [turn for turn in turns if turn.speaker == speaker], channel)
            for speaker, channel in sorted(channel_of.items(), key=lambda item: item[1])
        ]
        return Transcript(
            sorted((word for part in parts for word in part.words), key=_by_time),
            [drop for part in parts for drop in part.drops],
            " ".join(sorted({part.language for part in parts} - {""})),
            min((p.language_probability for p in parts if p.language_probability is not None), default=None),
        )

    def words_of(self, sound: npt.NDArray[np.float32]) -> list[str]:
        def read(start_us: int, stop_us: int) -> npt.NDArray[np.float32]:
            return sound[sample_at(start_us, MODEL_RATE_HZ) : sample_at(stop_us, MODEL_RATE_HZ)]

        whole = Span(0, us_of_sample(len(sound), MODEL_RATE_HZ))
        language = self._language(read, [whole], whole.stop_us)
        if language.share < POSSIBLE:
            return []
        words, _ = self._recognised(read, whole, language)
        return [plain(word.written) for word in words]

    def _words(self, pcm: Pcm, turns: Sequence[Turn], channel: int | None) -> Transcript:
        stop_us = us_of_sample(pcm.stop_sample, pcm.sample_rate_hz)
        talk = union(turn.span for turn in turns)
        read = _reader(pcm, channel)
        language = self._language(read, talk, stop_us)
        if language.share < POSSIBLE:
            return Transcript([], [_unclear(talk, language)] if talk else [], "")
        index = TurnIndex.of(turns)
        aligner = self._aligner if self._aligner and self._aligner.language == language.code else None
        words: list[Word] = []
        drops = [_told(language)] if self._settings.language == AUTO else []
        for span in stretches(turns, stop_us):
            said, left_out = self._said(read, span, intersect(talk, [span]), language)
            owned, nobodys = attributed(aligner(said, read) if aligner else said, index)
            words += owned
            drops += [*left_out, *nobodys]
        if self._aligner and not aligner and words:
            drops.append(_not_aligned(words, language.code, self._aligner.language))
        probability = language.share if words and self._settings.language == AUTO else None
        return Transcript(sorted(words, key=_by_time), drops, language.code if words else "", probability)

    def _language(self, read: Read, talk: Sequence[Span], stop_us: int) -> Language:
        if self._settings.language != AUTO:
            return Language(self._settings.language, 1.0)
        sounds = [read(piece.start_us, piece.stop_us) for piece in pieces(talk, stop_us)]
        return likeliest(self._loaded().languages_of(sounds)) if sounds else Language("", 0.0)

    def _said(
        self, read: Read, span: Span, talk: Sequence[Span], language: Language
    ) -> tuple[list[Heard], list[Drop]]:
        """The words over a span, by time; talk without words is given to the network once more."""
        words, drops = self._recognised(read, span, language)
        tried = [word.span for word in words] + [Span(d.start_us or 0, d.stop_us or 0) for d in drops]
        missing = unheard(talk, tried)
        for again in together(missing, span):
            heard, left_out = self._recognised(read, again, language)
            new, unsure = newly_heard(heard, missing, left_out)
            words += new
            drops += [*left_out, *unsure]
        return sorted(words, key=lambda word: (word.span.start_us, word.span.stop_us)), drops

    def _recognised(self, read: Read, span: Span, language: Language) -> tuple[list[Heard], list[Drop]]:
        windows = self._loaded().windows(
            read(span.start_us, span.stop_us),
            span.start_us,
            language=language.code,
            beam_size=self._settings.beam_size,
            prompt=self._settings.prompt if language.code == PROMPTED_LANGUAGE else "",
        )
        words: list[Heard] = []
        drops: list[Drop] = []
        for window in with_neighbours(windows):
            in_it, others = in_language(window, language)
            words += in_it
            drops += others
        kept, invented = without_invented(words, self._settings.prompt)
        return with_length(kept, SHORTEST_WORD_US), [*drops, *invented]

    def _loaded(self) -> Recogniser:
        if self._model is None:
            self._model = self._recognising.load()
        return self._model


def _sound(pcm: Pcm, start: int, stop: int, channel: int | None) -> npt.NDArray[np.float32]:
    if channel is None:
        return heard(pcm, start, stop)
    samples = pcm.read(channel, start, stop).astype(np.float32) / np.float32(32768)
    return to_model_rate(samples, pcm.sample_rate_hz)


def _reader(pcm: Pcm, channel: int | None) -> Read:
    def read(start_us: int, stop_us: int) -> npt.NDArray[np.float32]:
        start = sample_at(start_us, pcm.sample_rate_hz)
        return _sound(pcm, start, min(sample_at(stop_us, pcm.sample_rate_hz), pcm.stop_sample), channel)

    return read


def stretches(turns: Sequence[Turn], stop_us: int) -> Iterator[Span]:
    """The stretches to recognise at once: talk with its surroundings, cut if it is long."""
    talk = union(turn.span for turn in turns)
    half_us = SKIPPED_SILENCE_US // 2
    for group in union(talk, bridge_us=SKIPPED_SILENCE_US):
        start_us = max(0, group.start_us - half_us)
        end_us = min(stop_us, group.stop_us + half_us)
        while end_us - start_us > LONGEST_STRETCH_US:
            cut_us = _quiet_place(talk, start_us + LONGEST_STRETCH_US)
            yield Span(start_us, cut_us)
            start_us = cut_us
        if start_us < end_us:
            yield Span(start_us, end_us)


def _quiet_place(talk: Sequence[Span], last_us: int) -> int:
    """The middle of the longest silence in the last part before a time; the time itself without one."""
    first_us = last_us - CUT_WITHIN_US
    gaps = [
        Span(max(before.stop_us, first_us), min(after.start_us, last_us))
        for before, after in pairwise(talk)
        if before.stop_us < last_us and after.start_us > first_us
    ]
    if not gaps:
        return last_us
    longest = max(gaps, key=lambda gap: (gap.duration_us, -gap.start_us))
    return (longest.start_us + longest.stop_us) // 2


def _told(language: Language) -> Drop:
    """A Drop that leaves nothing out: it says which language was detected."""
    reason = f"the language found is {language.code!r} ({language.share:.2f})"
    return Drop(item="words", stage="transcribe", kind="trim", code="language_found", reason=reason)


def _unclear(talk: Sequence[Span], language: Language) -> Drop:
    return Drop(
        item="words",
        stage="transcribe",
        kind="trim",
        code="language_unclear",
        reason=(
            f"no language is likely (the likeliest is {language.code!r}, {language.share:.2f}), so nothing"
            " was written; name it in transcribe.language"
        ),
        start_us=talk[0].start_us,
        stop_us=talk[-1].stop_us,
    )


def _not_aligned(words: Sequence[Word], language: str | None, known: str) -> Drop:
    """A Drop that leaves no word out: only the better times are missing."""
    return Drop(
        item="words",
        stage="transcribe",
        kind="trim",
        code="words_not_aligned",
        reason=f"the aligner knows {known!r} alone; the words of {language!r} keep the recogniser's times",
        start_us=min(word.start_us or 0 for word in words),
        stop_us=max(word.stop_us or 0 for word in words),
        count=len(words),
    )


def _by_time(word: Word) -> tuple[int, int, str]:
    return (word.start_us or 0, word.stop_us or 0, word.speaker)
