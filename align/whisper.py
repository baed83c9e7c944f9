"""faster-whisper, window by window: recognised words and language probabilities."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from faster_whisper import WhisperModel

from corpus.align.heard import Heard, Window
from corpus.schemas.clock import us_from_seconds
from corpus.schemas.span import Span

WINDOW_US = 30_000_000
"""The network's input length."""
LIBRARY_FRAME_US = 10_000
"""The library's unit for the start of a window."""
RATE_HZ = 16_000
LANGUAGES_TOLD = 5

Languages = tuple[tuple[str, float], ...]


class Whisper(WhisperModel):  # type: ignore[misc]
    """The library's model; it also reports each window's languages, whichever was set."""

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

    def generate_with_fallback(self, encoder_output: Any, *rest: Any, **named: Any) -> Any:
        """The library's hook, called once a window with the encoder's output."""
        self._heard = self._languages(encoder_output)
        return super().generate_with_fallback(encoder_output, *rest, **named)

    def _languages(self, encoder_output: Any) -> Languages:
        if not self.model.is_multilingual:
            return ()
        (found,) = self.model.detect_language(encoder_output)
        return tuple((token[2:-2], float(share)) for token, share in found[:LANGUAGES_TOLD])

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
            # A loop in one window must not be carried on into the next.
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
            # The library is lazy: the hook has just run for this segment's window.
            languages = self._heard
        if gathered:
            yield window_of(gathered, languages, zero_us, stop_us)

    def languages_of(self, sounds: Sequence[npt.NDArray[np.float32]]) -> dict[str, float]:
        """The probability of each language, the mean over pieces of at most 30 s."""
        if not self.model.is_multilingual:
            return {"en": 1.0}
        total: dict[str, float] = {}
        for sound in sounds:
            _, _, found = self.detect_language(audio=sound)
            for name, share in found:
                total[name] = total.get(name, 0.0) + float(share) / len(sounds)
        return total


def window_of(segments: Sequence[Any], languages: Languages, zero_us: int, stop_us: int) -> Window:
    """What the library found in one window, on the recording's clock; the window ends by `stop_us`."""
    start_us = min(zero_us + segments[0].seek * LIBRARY_FRAME_US, stop_us)
    span = Span(start_us, min(start_us + WINDOW_US, stop_us))
    words = tuple(_heard(word, zero_us, span) for segment in segments for word in segment.words or ())
    first = segments[0]
    return Window(span, words, languages, float(first.compression_ratio), float(first.avg_logprob))


def _heard(word: Any, zero_us: int, window: Span) -> Heard:
    """A word of the library on the recording's clock, inside its window, with its leading space."""
    start_us = min(max(zero_us + us_from_seconds(float(word.start)), window.start_us), window.stop_us)
    stop_us = min(max(zero_us + us_from_seconds(float(word.end)), start_us), window.stop_us)
    return Heard(Span(start_us, stop_us), str(word.word), float(word.probability), window)
