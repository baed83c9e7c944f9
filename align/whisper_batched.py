"""faster-whisper with many windows at once, which keeps a GPU busy.

The sound is cut in advance, at the quietest place near the end of each 30 s, while the sequential recogniser
continues from the last word that it is sure of. So words near a cut may differ between the two.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from faster_whisper import BatchedInferencePipeline

from corpus.align.heard import Window
from corpus.align.whisper import LANGUAGES_TOLD, LIBRARY_FRAME_US, RATE_HZ, Languages, Whisper, window_of

LONGEST = 30 * RATE_HZ
CUT_WITHIN = 8 * RATE_HZ
"""The quietest place is looked for in this many samples at the end of a window."""
QUIET = RATE_HZ // 5
"""Quietness is measured over this many samples."""


class Batched(BatchedInferencePipeline):  # type: ignore[misc]
    """The library's pipeline; it also reports each window's languages, whichever was set."""

    def __init__(self, model: Whisper, windows_at_once: int) -> None:
        super().__init__(model=model)
        self._windows_at_once = windows_at_once
        self._heard: list[Languages] = []

    def generate_segment_batched(self, features: Any, tokenizer: Any, options: Any) -> Any:
        """The library's hook, called once per batch."""
        encoder_output, outputs = super().generate_segment_batched(features, tokenizer, options)
        if self.model.model.is_multilingual:
            for ranked in self.model.model.detect_language(encoder_output):
                languages = tuple((token[2:-2], float(share)) for token, share in ranked[:LANGUAGES_TOLD])
                self._heard.append(languages)
        return encoder_output, outputs

    def windows(
        self, sound: npt.NDArray[np.float32], zero_us: int, *, language: str, beam_size: int, prompt: str
    ) -> Iterator[Window]:
        """The windows in which something was recognised, in order; the sound begins at `zero_us`."""
        self._heard = []
        edges = cuts(sound)
        if len(edges) < 2:
            return
        segments, _ = self.transcribe(
            sound,
            language=language,
            beam_size=beam_size,
            temperature=0.0,
            word_timestamps=True,
            hotwords=prompt or None,
            clip_timestamps=[
                {"start": start / RATE_HZ, "end": stop / RATE_HZ} for start, stop in pairwise(edges)
            ],
            batch_size=self._windows_at_once,
        )
        number_of = {start * 1_000_000 // RATE_HZ // LIBRARY_FRAME_US: n for n, start in enumerate(edges)}
        of_window: dict[int, list[Any]] = {}
        for segment in segments:
            of_window.setdefault(number_of[segment.seek], []).append(segment)
        for number, segments_of in sorted(of_window.items()):
            stop_us = zero_us + edges[number + 1] * 1_000_000 // RATE_HZ
            languages = self._heard[number] if self._heard else ()
            yield window_of(segments_of, languages, zero_us, stop_us)

    def languages_of(self, sounds: Sequence[npt.NDArray[np.float32]]) -> dict[str, float]:
        """The probability of each language, the mean over pieces of at most 30 s."""
        model: Whisper = self.model
        return model.languages_of(sounds)


def cuts(sound: npt.NDArray[np.float32]) -> list[int]:
    """Samples at which windows begin and end: from 0 to the sound's end, in whole frames of the library."""
    frame = RATE_HZ * LIBRARY_FRAME_US // 1_000_000
    edges = [0]
    while len(sound) - edges[-1] > LONGEST:
        first = edges[-1] + LONGEST - CUT_WITHIN
        energy = np.square(sound[first : first + CUT_WITHIN].astype(np.float64))
        by_frame = energy.reshape(-1, frame).sum(axis=1)
        around = np.convolve(by_frame, np.ones(QUIET // frame), mode="valid")
        edges.append(first + (int(around.argmin()) + QUIET // frame // 2) * frame)
    return [*edges, len(sound)] if len(sound) else edges
