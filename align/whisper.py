"""faster-whisper, window by window: recognised words and language probabilities."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from faster_whisper import WhisperModel

from corpus.align.heard import Heard, Window
from corpus.align.languages import LOOPING
from corpus.schemas.clock import us_from_seconds
from corpus.schemas.span import Span

WINDOW_US = 30_000_000
"""The network's input length."""
LIBRARY_FRAME_US = 10_000
"""The library's unit for the start of a window."""
SHORTEST_REST = 50
"""In frames of the library (0.5 s). What is left after the last word is usually shorter, and anything ever
recognised in it was removed again by a filter."""
FASTEST_TOKENS, MOST_TOKENS = 8, 224
"""Tokens per second and per window; more is a loop. The fastest clip of the developer meetings has 3.3 per
second; 224 is the limit of Whisper's authors."""
UNREPEATED = 6
"""After a loop, no sequence of this many tokens may repeat."""
RATE_HZ = 16_000
FRAME_SAMPLES = RATE_HZ * LIBRARY_FRAME_US // 1_000_000
LANGUAGES_TOLD = 5

Languages = tuple[tuple[str, float], ...]
_Decoded = tuple[Any, float, float, float]
"""The library's result, its mean log probability, the temperature, and its gzip compression ratio."""


@dataclass(frozen=True, slots=True)
class _NoSpeech:
    """A result of the library in which nobody speaks."""

    sequences_ids: tuple[tuple[int, ...], ...] = ((),)
    no_speech_prob: float = 1.0


class Whisper(WhisperModel):  # type: ignore[misc]
    """The library's model with changes. It reports each window's languages, whichever was set; it does not
    read the rest after the last word, which would cost 30 s of padding; it decodes a loop once more."""

    def __init__(self, folder: Path, *, device: str, compute_type: str, threads: int) -> None:
        super().__init__(
            str(folder),
            device=device,
            compute_type=compute_type,
            cpu_threads=threads,
            num_workers=1,
            local_files_only=True,
        )
        self._heard: Languages = ()
        self._frames = 0

    def encode(self, features: npt.NDArray[np.float32]) -> Any:
        """The library's hook, called once per window; None for a rest that is too short to hold a word."""
        if features.ndim != 2:  # a batch
            return super().encode(features)
        sounding = np.flatnonzero(features.any(axis=0))
        self._frames = int(sounding[-1]) + 1 if len(sounding) else 0
        if self._frames < SHORTEST_REST:
            return None
        return super().encode(features)

    def generate_with_fallback(
        self, encoder_output: Any, prompt: list[int], tokenizer: Any, options: Any
    ) -> _Decoded:
        """The library's hook, called once per window with the encoder's output."""
        if encoder_output is None:
            # Make it improbable, too, or the library would still take it for speech.
            return _NoSpeech(), -math.inf, 0.0, 1.0
        self._heard = self._languages(encoder_output)
        most = min(MOST_TOKENS, 3 * FASTEST_TOKENS + FASTEST_TOKENS * self._frames // 100)
        options = replace(options, max_new_tokens=min(most, self.max_length - len(prompt)))
        first: _Decoded = super().generate_with_fallback(encoder_output, prompt, tokenizer, options)
        if first[3] <= LOOPING:
            return first
        # Only after a loop, because people do say sentences twice.
        options = replace(options, no_repeat_ngram_size=UNREPEATED)
        second: _Decoded = super().generate_with_fallback(encoder_output, prompt, tokenizer, options)
        return min(first, second, key=lambda decoded: decoded[3])

    def _languages(self, encoder_output: Any) -> Languages:
        if not self.model.is_multilingual:
            return ()
        (ranked,) = self.model.detect_language(encoder_output)
        return tuple((token[2:-2], float(share)) for token, share in ranked[:LANGUAGES_TOLD])

    def windows(
        self, sound: npt.NDArray[np.float32], zero_us: int, *, language: str, beam_size: int, prompt: str
    ) -> Iterator[Window]:
        """The windows in which something was recognised, in order; the sound begins at `zero_us`."""
        segments, _ = self.transcribe(
            sound,
            language=language,
            beam_size=beam_size,
            # No fallback to a higher temperature, which would draw random numbers.
            temperature=0.0,
            word_timestamps=True,
            # A loop in one window must not continue in the next.
            condition_on_previous_text=False,
            # Applied to every window; `initial_prompt` reaches only the first.
            hotwords=prompt or None,
        )
        stop_us = zero_us + len(sound) * 1_000_000 // RATE_HZ
        gathered: list[Any] = []
        languages: Languages = ()
        for segment in segments:
            if gathered and segment.seek != gathered[0].seek:
                yield window_of(gathered, languages, zero_us, stop_us)
                gathered = []
            gathered.append(segment)
            # The library is lazy, so the hook has just run for this segment's window.
            languages = self._heard
        if gathered:
            yield window_of(gathered, languages, zero_us, stop_us)

    def languages_of(self, sounds: Sequence[npt.NDArray[np.float32]]) -> dict[str, float]:
        """The probability of each language, the mean over pieces of at most 30 s."""
        if not self.model.is_multilingual:
            return {"en": 1.0}
        total: dict[str, float] = {}
        sounds = [sound for sound in sounds if len(sound) >= SHORTEST_REST * FRAME_SAMPLES]
        for sound in sounds:
            _, _, ranked = self.detect_language(audio=sound)
            for name, share in ranked:
                total[name] = total.get(name, 0.0) + float(share) / len(sounds)
        return total


def window_of(segments: Sequence[Any], languages: Languages, zero_us: int, stop_us: int) -> Window:
    """The library's results in one window, on the recording's clock; the window ends by `stop_us`."""
    start_us = min(zero_us + segments[0].seek * LIBRARY_FRAME_US, stop_us)
    span = Span(start_us, min(start_us + WINDOW_US, stop_us))
    words = tuple(_heard(word, zero_us, span) for segment in segments for word in segment.words or ())
    first = segments[0]
    return Window(span, words, languages, float(first.compression_ratio), float(first.avg_logprob))


def _heard(word: Any, zero_us: int, window: Span) -> Heard:
    """A word from the library, on the recording's clock and inside its window, with its leading space."""
    start_us = min(max(zero_us + us_from_seconds(float(word.start)), window.start_us), window.stop_us)
    stop_us = min(max(zero_us + us_from_seconds(float(word.end)), start_us), window.stop_us)
    return Heard(Span(start_us, stop_us), str(word.word), float(word.probability), window)
