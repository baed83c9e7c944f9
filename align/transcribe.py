"""What was said, by faster-whisper; when, by an aligner; each word given to the speaker whose turn is there.

The whole mix is recognised, not turn by turn: on real conversations that gives fewer errors, since
the network hears its context. Silences of more than 20 s are left out, long stretches are cut at the
longest silence near five minutes, so memory does not grow with the length.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from corpus.align.attribute import NEAREST_TURN_US, TurnIndex
from corpus.align.diarize import heard, to_model_rate
from corpus.align.forced import Aligner, Read, open_aligner
from corpus.align.heard import Heard, joined_tokens, runs, words_drop
from corpus.align.invented import without_invented
from corpus.align.models import HINT, WHISPER_PREFIX, find, pinned_digest
from corpus.align.parsing import split_punctuation
from corpus.align.wheels import sha256_of
from corpus.schemas.clock import sample_at, us_from_seconds, us_of_sample
from corpus.schemas.codec import digest
from corpus.schemas.conversation import Turn, Word
from corpus.schemas.drops import Drop
from corpus.schemas.errors import MissingDependencyError, SettingsError
from corpus.schemas.pcm import Pcm
from corpus.schemas.settings import TranscribeSettings
from corpus.schemas.span import Span, union

VERSION = "transcribe/3"
SKIPPED_SILENCE_US = 20_000_000
"""A longer stretch without a turn is not recognised, but for half of this on either side."""
LONGEST_STRETCH_US = 300_000_000
CUT_WITHIN_US = 120_000_000
"""A long stretch is cut at the longest silence in this last part of it."""
LIBRARY_FRAME_US = 10_000
"""The unit in which the library says where a window begins."""
WINDOW_US = 30_000_000
"""What the network sees at once."""
PROMPTED_LANGUAGE = "en"
"""The language of the default prompt; another language is recognised without one."""


class Transcriber(Protocol):
    """Finds the words of a recording whose turns are known."""

    key: str
    """Digest of weights, settings and library versions."""

    def __call__(
        self, pcm: Pcm, turns: Sequence[Turn], channel_of: Mapping[str, int] | None
    ) -> tuple[list[Word], list[Drop]]: ...


def open_transcriber(settings: TranscribeSettings, models: Path | None = None) -> Transcriber:
    """A transcriber for the settings' backend; its model is loaded at the first recording.

    Raises:
        MissingModelError: weights are not on this machine.
        MissingDependencyError: faster-whisper, or what aligns words, is not installed.
        SettingsError: an unknown backend.
    """
    if importlib.util.find_spec("faster_whisper") is None:
        raise MissingDependencyError("faster-whisper is not installed", todo=HINT)
    aligner = open_aligner() if settings.align else None
    if settings.backend == "default":
        folder, weights = find("whisper-base", models), pinned_digest("whisper-base")
        return _Whisper(settings, folder, weights, aligner)
    if not settings.backend.startswith(WHISPER_PREFIX):
        raise SettingsError(
            f"transcribe.backend = {settings.backend!r} is unknown",
            todo="it must be default, whisper:SIZE-OR-DIRECTORY or none",
        )
    path = Path(settings.backend.removeprefix(WHISPER_PREFIX)).expanduser()
    folder = path if path.is_dir() else find(settings.backend, models)
    files = sorted(file for file in folder.iterdir() if file.is_file())
    told = "".join(f"{file.name} {sha256_of(file)}\n" for file in files)
    return _Whisper(settings, folder, hashlib.sha256(told.encode()).hexdigest(), aligner)


class _Whisper:
    def __init__(
        self, settings: TranscribeSettings, folder: Path, weights: str, aligner: Aligner | None
    ) -> None:
        libraries = [f"{n}={version(n)}" for n in ("faster-whisper", "ctranslate2", "tokenizers", "numpy")]
        self.key = digest([VERSION, weights, libraries, settings, aligner.key if aligner else None])
        self._settings = settings
        self._folder = folder
        self._model: Any = None
        self._aligner = aligner

    def __call__(
        self, pcm: Pcm, turns: Sequence[Turn], channel_of: Mapping[str, int] | None
    ) -> tuple[list[Word], list[Drop]]:
        if channel_of is None:
            return self._words(pcm, turns, None)
        words: list[Word] = []
        drops: list[Drop] = []
        for speaker, channel in sorted(channel_of.items(), key=lambda item: item[1]):
            found, left = self._words(pcm, [turn for turn in turns if turn.speaker == speaker], channel)
            words += found
            drops += left
        return sorted(words, key=_by_time), drops

    def _words(self, pcm: Pcm, turns: Sequence[Turn], channel: int | None) -> tuple[list[Word], list[Drop]]:
        index = TurnIndex.of(turns)
        stop_us = us_of_sample(pcm.stop_sample, pcm.sample_rate_hz)
        words: list[Word] = []
        drops: list[Drop] = []
        language = self._settings.language
        for span in stretches(turns, stop_us):
            heard_words, language = self._recognise(pcm, span, channel, language)
            kept, invented = without_invented(heard_words, self._settings.prompt)
            if self._aligner is not None and language == self._aligner.language:
                kept = self._aligner(kept, _reader(pcm, channel))
            found, nobodys = attributed(kept, index)
            words += found
            drops += [*invented, *nobodys]
        if self._aligner is not None and language != self._aligner.language and words:
            drops.append(_not_aligned(words, language, self._aligner.language))
        return sorted(words, key=_by_time), drops

    def _recognise(
        self, pcm: Pcm, span: Span, channel: int | None, language: str | None
    ) -> tuple[list[Heard], str]:
        start = sample_at(span.start_us, pcm.sample_rate_hz)
        stop = min(sample_at(span.stop_us, pcm.sample_rate_hz), pcm.stop_sample)
        segments, info = self._loaded().transcribe(
            _sound(pcm, start, stop, channel),
            language=language,
            beam_size=self._settings.beam_size,
            # no fallback to a higher temperature: that draws random numbers
            temperature=0.0,
            word_timestamps=True,
            condition_on_previous_text=False,
            # given again before every 30 s; `initial_prompt` reaches only the first
            hotwords=self._settings.prompt if language == PROMPTED_LANGUAGE else None,
        )
        zero_us = us_of_sample(start, pcm.sample_rate_hz)
        words = [_heard(word, s.seek, zero_us, span) for s in segments for word in s.words or ()]
        return joined_tokens(words, str(info.language)), str(info.language)

    def _loaded(self) -> Any:
        if self._model is None:
            from faster_whisper import WhisperModel

            self._model = WhisperModel(
                str(self._folder),
                device="cpu",
                compute_type="int8",
                cpu_threads=self._settings.threads,
                num_workers=1,
                local_files_only=True,
            )
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


def _heard(word: Any, seek_frames: int, zero_us: int, span: Span) -> Heard:
    """A word of the library on the recording's clock, inside its stretch, with its leading space."""
    start_us = min(max(zero_us + us_from_seconds(float(word.start)), span.start_us), span.stop_us)
    stop_us = min(max(zero_us + us_from_seconds(float(word.end)), start_us), span.stop_us)
    window_us = min(zero_us + seek_frames * LIBRARY_FRAME_US, span.stop_us)
    window = Span(window_us, min(window_us + WINDOW_US, span.stop_us))
    return Heard(Span(start_us, stop_us), str(word.word), float(word.probability), window)


def stretches(turns: Sequence[Turn], stop_us: int) -> Iterator[Span]:
    """What is recognised at a time: talk with its surroundings, cut where it is long."""
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


def attributed(words: Sequence[Heard], index: TurnIndex) -> tuple[list[Word], list[Drop]]:
    """The words with their speakers; those far from every turn are Drops, one for each run of them."""
    found: list[tuple[Heard, str | None]] = []
    last: str | None = None
    for word in words:
        last = index.speaker(word.span, prefer=last)
        found.append((word, last))
    kept = [_word(word, speaker) for word, speaker in found if speaker is not None]
    reason = f"was recognised more than {NEAREST_TURN_US / 1e6:.1f} s from every turn"
    nobodys = runs(words, [speaker is None for _, speaker in found])
    return kept, [words_drop("words_outside_turns", reason, run) for run in nobodys]


def _word(word: Heard, speaker: str) -> Word:
    text, after = split_punctuation(word.written)
    return Word(
        speaker=speaker,
        start_us=word.span.start_us,
        stop_us=word.span.stop_us,
        text=text,
        after=after,
        timing="aligned" if word.aligned else "recognised",
        confidence=round(min(max(word.probability, 0.0), 1.0), 4),
    )


def _not_aligned(words: Sequence[Word], language: str | None, known: str) -> Drop:
    """No word is left out: what is missing is the better time."""
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
