"""Who speaks when where each speaker has a channel: a voice activity detector on each."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from importlib.metadata import version

import numpy as np
import numpy.typing as npt

from corpus.align.backend import MODEL_RATE_HZ
from corpus.align.diarize import Diarizer, Stretch, split, to_model_rate
from corpus.align.models import HINT
from corpus.schemas.clock import us_of_sample
from corpus.schemas.codec import digest
from corpus.schemas.conversation import Turn
from corpus.schemas.drops import Drop
from corpus.schemas.errors import CorpusError, MissingDependencyError
from corpus.schemas.pcm import Pcm
from corpus.schemas.settings import DiarizeSettings
from corpus.schemas.sight import Seen
from corpus.schemas.span import Span, union

VERSION = "channels_vad/1"
MIN_SILENCE_MS = 200
"""A shorter silence stays inside a turn: the bridge of an inter-pausal unit."""
MIN_SPEECH_MS = 60
SPEECH_PAD_MS = 60
THRESHOLD = 0.35
"""Of the network's probability. Its own 0.5 with a pad of 30 ms misses 25 s of the 119 s of speech in seven
AMI clips; this and the longer pad miss 18 s, for 1.8 s more of false speech."""


def open_channels_vad(settings: DiarizeSettings, speakers: Sequence[str]) -> Diarizer:
    """A detector for recordings whose channel i holds `speakers[i]` alone.

    Raises:
        MissingDependencyError: faster-whisper, which holds the Silero network, is not installed.
    """
    if importlib.util.find_spec("faster_whisper") is None:
        raise MissingDependencyError("faster-whisper is not installed", todo=HINT)
    return _ChannelsVad(settings, tuple(speakers))


class _ChannelsVad:
    def __init__(self, settings: DiarizeSettings, speakers: tuple[str, ...]) -> None:
        libraries = [f"{name}={version(name)}" for name in ("faster-whisper", "onnxruntime", "numpy")]
        thresholds: list[float] = [THRESHOLD, MIN_SILENCE_MS, MIN_SPEECH_MS, SPEECH_PAD_MS]
        self.key = digest([VERSION, thresholds, libraries, list(speakers), settings.threads])
        self._speakers = speakers

    def __call__(self, pcm: Pcm, seen: Seen | None = None) -> tuple[list[Turn], list[Drop]]:
        if pcm.channels != len(self._speakers):
            raise CorpusError(f"{pcm.channels} channels cannot hold {len(self._speakers)} speakers")
        turns = [
            Turn(speaker=name, start_us=span.start_us, stop_us=span.stop_us)
            for channel, name in enumerate(self._speakers)
            for span in union(_speech(pcm, channel), bridge_us=MIN_SILENCE_MS * 1000)
        ]
        return sorted(turns, key=lambda turn: (turn.start_us, turn.stop_us, turn.speaker)), []


def _speech(pcm: Pcm, channel: int) -> Iterator[Span]:
    for stretch in split(pcm):
        yield from _speech_of(pcm, channel, stretch)


def _speech_of(pcm: Pcm, channel: int, stretch: Stretch) -> Iterator[Span]:
    from faster_whisper.vad import VadOptions, get_speech_timestamps

    options = VadOptions(
        threshold=THRESHOLD,
        min_silence_duration_ms=MIN_SILENCE_MS,
        min_speech_duration_ms=MIN_SPEECH_MS,
        speech_pad_ms=SPEECH_PAD_MS,
    )
    samples = pcm.read(channel, stretch.low, stretch.high).astype(np.float32) / np.float32(32768)
    waveform: npt.NDArray[np.float32] = to_model_rate(samples, pcm.sample_rate_hz)
    zero_us = us_of_sample(stretch.low, pcm.sample_rate_hz)
    decided = Span(
        us_of_sample(stretch.start, pcm.sample_rate_hz), us_of_sample(stretch.stop, pcm.sample_rate_hz)
    )
    for found in get_speech_timestamps(waveform, options):
        start_us = zero_us + us_of_sample(int(found["start"]), MODEL_RATE_HZ)
        stop_us = zero_us + us_of_sample(int(found["end"]), MODEL_RATE_HZ)
        inside = Span(start_us, stop_us) & decided
        if inside:
            yield inside
