"""Who speaks when, for recordings with one channel per speaker: voice activity on each channel, minus what it
picks up from the others; also detects drifting clocks."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from itertools import combinations

import numpy as np
import numpy.typing as npt

from corpus.align import crosstalk, drift
from corpus.align.backend import MODEL_RATE_HZ
from corpus.align.diarize import Diarized, Diarizer, Stretch, split, to_model_rate
from corpus.align.models import HINT
from corpus.schemas.clock import us_of_sample
from corpus.schemas.codec import digest
from corpus.schemas.conversation import Turn
from corpus.schemas.drops import Drop
from corpus.schemas.errors import CorpusError, MissingDependencyError
from corpus.schemas.pcm import Pcm
from corpus.schemas.settings import DiarizeSettings
from corpus.schemas.sight import Seen
from corpus.schemas.span import Span, subtract, union

VERSION = "channels_vad/2"
MIN_SILENCE_MS = 200
"""A shorter silence stays inside a turn: the bridge of an inter-pausal unit."""
MIN_SPEECH_MS = 60
SPEECH_PAD_MS = 60
THRESHOLD = 0.35
"""Threshold of the network's probability. Its own 0.5 with a pad of 30 ms misses 25 s of the 119 s of speech
in seven
AMI clips; this and the longer pad miss 18 s, for 1.8 s more of false speech."""


def open_channels_vad(settings: DiarizeSettings, speakers: Sequence[str]) -> Diarizer:
    """A detector for recordings whose channel i holds only `speakers[i]`.

    Raises:
        MissingDependencyError: faster-whisper, which holds the Silero network, is not installed.
    """
    require_vad()
    return _ChannelsVad(settings, tuple(speakers))


def require_vad() -> None:
    """Look for the network without importing it."""
    if importlib.util.find_spec("faster_whisper") is None:
        raise MissingDependencyError("faster-whisper is not installed", todo=HINT)


class _ChannelsVad:
    def __init__(self, settings: DiarizeSettings, speakers: tuple[str, ...]) -> None:
        libraries = [f"{name}={version(name)}" for name in ("faster-whisper", "onnxruntime", "numpy")]
        thresholds: list[float] = [THRESHOLD, MIN_SILENCE_MS, MIN_SPEECH_MS, SPEECH_PAD_MS]
        self.key = digest([VERSION, thresholds, libraries, list(speakers), settings.threads])
        self._speakers = speakers

    def __call__(self, pcm: Pcm, seen: Seen | None = None) -> tuple[list[Turn], list[Drop]]:
        if pcm.channels != len(self._speakers):
            raise CorpusError(f"{pcm.channels} channels cannot hold {len(self._speakers)} speakers")
        spoken = speech_of(pcm)
        drops: list[Drop] = []
        if pcm.channels > 1:
            spoken, drops = self._own(pcm, spoken)
        turns = [
            Turn(speaker=name, start_us=span.start_us, stop_us=span.stop_us)
            for name, spans in zip(self._speakers, spoken, strict=True)
            for span in spans
        ]
        return sorted(turns, key=lambda turn: (turn.start_us, turn.stop_us, turn.speaker)), drops

    def diarized(self, pcm: Pcm, seen: Seen | None = None) -> Diarized:
        """Whose a channel is, is known: there is nothing to be sure of."""
        return Diarized(*self(pcm, seen))

    def _own(self, pcm: Pcm, spoken: Sequence[Sequence[Span]]) -> tuple[list[list[Span]], list[Drop]]:
        """Each channel's speech without what it hears of the others, and what was left out or is odd."""
        heard = crosstalk.listen(pcm, spoken)
        own, gain = heard.own, heard.gain
        drops = [
            drop
            for channel, spans in enumerate(spoken)
            for drop in self._copies(channel, subtract(spans, own[channel]), gain[channel])
        ]
        return own, drops + self._drifts(pcm, own, gain)

    def _copies(self, channel: int, left_out: Sequence[Span], gain: npt.NDArray[np.float64]) -> list[Drop]:
        if not left_out:
            return []
        loudest = int(gain.argmax())
        name, other = self._speakers[channel], self._speakers[loudest]
        seconds = sum(span.duration_us for span in left_out) / 1e6
        return [
            Drop(
                item=f"channel:{channel}",
                stage="diarize",
                kind="trim",
                code="cross_talk",
                reason=(
                    f"{name}'s microphone hears the others ({other} at {_db(gain[loudest]):.0f} dB);"
                    f" {seconds:.1f} s of such copies are no turns of {name}"
                ),
                start_us=left_out[0].start_us,
                stop_us=left_out[-1].stop_us,
                count=len(left_out),
            )
        ]

    def _drifts(self, pcm: Pcm, own: Sequence[Sequence[Span]], gain: npt.NDArray[np.float64]) -> list[Drop]:
        """Drifting clocks, measured by the copies; a pair of channels is reported once."""
        drops: list[Drop] = []
        for one, other in combinations(range(pcm.channels), 2):
            # the louder copy of the two tells more
            target, source = (one, other) if gain[one, other] >= gain[other, one] else (other, one)
            apart = drift.drift(pcm, source, target, own[source]) if gain[target, source] else None
            if apart is not None and abs(apart.ppm) >= drift.TOLD_PPM:
                drops.append(self._drifting(apart, self._speakers[source], self._speakers[target], target))
        return drops

    def _drifting(self, apart: drift.Drift, source: str, target: str, channel: int) -> Drop:
        way = "fast" if apart.ppm > 0 else "slow"
        return Drop(
            item=f"channel:{channel}",
            stage="diarize",
            kind="trim",
            code="clock_drift",
            reason=(
                f"the clock of {target}'s recording runs {abs(apart.ppm):.1f} millionths {way} against"
                f" {source}'s, {abs(apart.ppm) * 3.6:.0f} ms an hour (within"
                f" {apart.error_ppm:.1f}); it was left as it is, for only files with clocks of their own, and"
                " drifts that are sure, are corrected"
            ),
        )


def _db(gain: float) -> float:
    return 10 * float(np.log10(max(gain, 1e-9)))


def speech_of(pcm: Pcm) -> list[list[Span]]:
    """Where each channel contains speech, by any speaker."""
    return [union(_speech(pcm, channel), bridge_us=MIN_SILENCE_MS * 1000) for channel in range(pcm.channels)]


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
    for detected in get_speech_timestamps(waveform, options):
        start_us = zero_us + us_of_sample(int(detected["start"]), MODEL_RATE_HZ)
        stop_us = zero_us + us_of_sample(int(detected["end"]), MODEL_RATE_HZ)
        inside = Span(start_us, stop_us) & decided
        if inside:
            yield inside
