"""faster-whisper, window by window: recognised words and language probabilities."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from ctranslate2 import StorageView
from faster_whisper import WhisperModel

from corpus.align.encoded import Encoded, Part
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
POSITION_FRAMES = 2
"""The library's frames to one timestamp of the decoder, which is one position of the encoder."""
LANGUAGES_TOLD = 5

Languages = tuple[tuple[str, float], ...]
_Decoded = tuple[Any, float, float, float]
"""The library's result, its mean log probability, the temperature, and its gzip compression ratio."""


@dataclass(frozen=True, slots=True)
class _Result:
    """The part of the library's result that is used; the default is one in which nobody speaks."""

    sequences_ids: tuple[list[int], ...] = ([],)
    no_speech_prob: float = 1.0


class Whisper(WhisperModel):  # type: ignore[misc]
    """The library's model with changes. It reports each window's languages, whichever was set; it does not
    read the rest after the last word, which would cost 30 s of padding; it decodes a loop once more; it keeps
    a sentence that the end of the sound cuts off; it does not encode sound twice that one window has."""

    _encoded: Encoded | None = None
    """What was encoded of the last long sound, for second tries inside it."""
    _first = 0
    """The sample of that sound at which the current one begins."""
    _stop_frame: float = math.inf
    """The end of the current sound in the library's frames; infinite if it is not read window by window."""
    _again: Part | None = None
    """What was encoded of the current sound before."""
    _part: Part | None = None
    """The current window's part of that."""
    _output: StorageView | None = None
    """The encoder's output for the current window, if it was encoded now."""

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

    def _begin(self, sound: npt.NDArray[np.float32], zero_us: int) -> None:
        """Prepare for the windows of a sound."""
        first = self._encoded.place(sound, zero_us) if self._encoded else None
        if self._encoded is None or first is None:
            self._encoded, first = Encoded(sound, zero_us), 0
        self._first, self._stop_frame = first, len(sound) // FRAME_SAMPLES
        self._again = self._encoded.part(first, len(sound))

    def encode(self, features: npt.NDArray[np.float32]) -> Any:
        """The library's hook, called once per window; None for a rest that is too short to hold a word."""
        if features.ndim != 2:  # a batch
            return super().encode(features)
        sounding = np.flatnonzero(features.any(axis=0))
        self._frames = int(sounding[-1]) + 1 if len(sounding) else 0
        self._part = self._output = None
        if self._frames < SHORTEST_REST:
            return None
        if self._again is not None:
            self._part = self._again.after(int(self._stop_frame - self._frames) // POSITION_FRAMES)
            return StorageView.from_array(self._part.states)
        self._output = super().encode(features)
        return self._output

    def generate_with_fallback(
        self, encoder_output: Any, prompt: list[int], tokenizer: Any, options: Any
    ) -> _Decoded:
        """The library's hook, called once per window with the encoder's output."""
        if encoder_output is None:
            # Make it improbable, too, or the library would still take it for speech.
            return _Result(), -math.inf, 0.0, 1.0
        self._heard = self._languages(encoder_output)
        if self._part is None:
            return self._decoded(encoder_output, prompt, tokenizer, options)
        stamp, first = tokenizer.timestamp_begin, self._part.first
        # To the decoder this is still the earlier window; the timestamp tells it where to go on.
        prompt = [*prompt, stamp + first]
        result, sure, temperature, ratio = self._decoded(encoder_output, prompt, tokenizer, options)
        (tokens, *_) = result.sequences_ids
        tokens = [max(stamp, token - first) if token >= stamp else token for token in tokens]
        return _Result((tokens,), result.no_speech_prob), sure, temperature, ratio

    def _decoded(self, encoder_output: Any, prompt: list[int], tokenizer: Any, options: Any) -> _Decoded:
        most = min(MOST_TOKENS, 3 * FASTEST_TOKENS + FASTEST_TOKENS * self._frames // 100)
        options = replace(options, max_new_tokens=min(most, self.max_length - len(prompt)))
        first: _Decoded = super().generate_with_fallback(encoder_output, prompt, tokenizer, options)
        if first[3] <= LOOPING:
            return first
        # Only after a loop, because people do say sentences twice.
        options = replace(options, no_repeat_ngram_size=UNREPEATED)
        second: _Decoded = super().generate_with_fallback(encoder_output, prompt, tokenizer, options)
        return min(first, second, key=lambda decoded: decoded[3])

    def _split_segments_by_timestamps(self, **given: Any) -> Any:
        """The library's hook, called once per window with the decoded tokens."""
        seek, frames = given["seek"], given["segment_size"]
        if self._encoded is not None and self._output is not None and self.model.device == "cpu":
            start = self._first + seek * FRAME_SAMPLES
            self._encoded.add(start, frames * FRAME_SAMPLES, np.asarray(self._output))
        if seek + frames > self._stop_frame - SHORTEST_REST:
            stamp = given["tokenizer"].timestamp_begin
            given["tokens"] = finished(given["tokens"], stamp, stamp + frames // POSITION_FRAMES)
        return super()._split_segments_by_timestamps(**given)

    def _languages(self, encoder_output: Any) -> Languages:
        if not self.model.is_multilingual:
            return ()
        (ranked,) = self.model.detect_language(encoder_output)
        return tuple((token[2:-2], float(share)) for token, share in ranked[:LANGUAGES_TOLD])

    def windows(
        self, sound: npt.NDArray[np.float32], zero_us: int, *, language: str, beam_size: int, prompt: str
    ) -> Iterator[Window]:
        """The windows in which something was recognised, in order; the sound begins at `zero_us`."""
        self._begin(sound, zero_us)
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
        self._again, self._stop_frame = None, math.inf

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


def finished(tokens: list[int], stamp: int, end: int) -> list[int]:
    """The tokens with an end timestamp for a last sentence that has none.

    The library drops such a sentence, because it expects the next window to hold it whole.
    """
    stamps = [token >= stamp for token in tokens]
    # Without a pair of timestamps the library keeps everything.
    whole = not any(one and other for one, other in pairwise(stamps)) or stamps[-1]
    return tokens if whole else [*tokens, end]


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
