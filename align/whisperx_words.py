"""WhisperX: its own voice activity detection, batched recognition, and alignment by a network of letters."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
import numpy.typing as npt

from corpus.align.heard import Heard, Window
from corpus.schemas.clock import us_from_seconds
from corpus.schemas.errors import MissingDependencyError, MissingModelError
from corpus.schemas.span import Span

RATE_HZ = 16_000


def require_whisperx() -> str:
    """The versions of WhisperX and its libraries.

    Raises:
        MissingDependencyError: it is not installed.
    """
    if importlib.util.find_spec("whisperx") is None:
        raise MissingDependencyError("WhisperX is not installed", todo="pip install whisperx==3.8.6")
    return " ".join(f"{name}={version(name)}" for name in ("whisperx", "torch", "ctranslate2"))


class WhisperX:
    """The library's recogniser and aligner as a recogniser of windows; words have the aligner's times."""

    def __init__(self, name: str, *, device: str, threads: int, windows_at_once: int) -> None:
        self._name = name
        self._device = device
        self._threads = threads
        self._windows_at_once = windows_at_once
        self._models: dict[tuple[str, int, str], Any] = {}
        self._aligners: dict[str, tuple[Any, Any]] = {}

    def windows(
        self, sound: npt.NDArray[np.float32], zero_us: int, *, language: str, beam_size: int, prompt: str
    ) -> Iterator[Window]:
        """The segments in which something was recognised, in order; the sound begins at `zero_us`."""
        import whisperx

        model = self._model(language, beam_size, prompt)
        done = model.transcribe(sound, batch_size=self._windows_at_once, language=language)
        network, about = self._aligner(language)
        stop_us = zero_us + len(sound) * 1_000_000 // RATE_HZ
        for segment in done["segments"]:
            aligned = whisperx.align(
                [segment], network, about, sound, self._device, return_char_alignments=False
            )
            span = _clipped(segment["start"], segment["end"], Span(zero_us, stop_us), zero_us)
            yield Window(span, words_of(aligned["word_segments"], span, zero_us))

    def languages_of(self, sounds: Sequence[npt.NDArray[np.float32]]) -> dict[str, float]:
        """One language with probability 1, because the library gives no probabilities."""
        model = self._model("", 5, "")
        names = [model.detect_language(sound) for sound in sounds]
        return {name: names.count(name) / len(names) for name in names}

    def _model(self, language: str, beam_size: int, prompt: str) -> Any:
        """The recogniser; its options are fixed when it is loaded."""
        import whisperx

        key = (language, beam_size, prompt)
        if key not in self._models:
            self._models[key] = whisperx.load_model(
                self._name,
                self._device,
                compute_type="float16" if self._device == "cuda" else "int8",
                language=language or None,
                threads=self._threads,
                asr_options={"beam_size": beam_size, "hotwords": prompt or None, "temperatures": [0.0]},
            )
        return self._models[key]

    def _aligner(self, language: str) -> tuple[Any, Any]:
        import whisperx

        if language not in self._aligners:
            try:
                self._aligners[language] = whisperx.load_align_model(
                    language_code=language, device=self._device
                )
            except ValueError as error:
                raise MissingModelError(
                    f"WhisperX has no aligner for {language!r}",
                    todo='use transcribe.backend = "whisper:SIZE-OR-DIRECTORY" for this language',
                ) from error
        return self._aligners[language]


def words_of(found: Sequence[dict[str, Any]], within: Span, zero_us: int) -> tuple[Heard, ...]:
    """Words with the aligner's times; a word that it could not place gets the time between its neighbours."""
    words: list[Heard] = []
    for place, word in enumerate(found):
        text, sureness = f" {str(word['word']).strip()}", float(word.get("score", 0.0))
        if "start" in word and "end" in word:
            span = _clipped(word["start"], word["end"], within, zero_us)
            words.append(Heard(span, text, sureness, within, aligned=True))
            continue
        start_us = words[-1].span.stop_us if words else within.start_us
        following = next((later["start"] for later in found[place + 1 :] if "start" in later), None)
        stop_us = within.stop_us if following is None else zero_us + us_from_seconds(float(following))
        words.append(
            Heard(Span(start_us, max(start_us, min(stop_us, within.stop_us))), text, sureness, within)
        )
    return tuple(words)


def _clipped(start_s: float, stop_s: float, within: Span, zero_us: int) -> Span:
    start_us, stop_us = (
        min(max(zero_us + us_from_seconds(float(time_s)), within.start_us), within.stop_us)
        for time_s in (start_s, stop_s)
    )
    return Span(start_us, max(start_us, stop_us))
