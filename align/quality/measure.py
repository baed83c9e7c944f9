"""Measures all facts of a recording's clips in one pass over its sound, holding one clip in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from corpus.align.quality.dnsmos import Opinion
from corpus.align.quality.sound import (
    bandwidth_hz,
    clipping_share,
    frame_powers,
    noise_power,
    quiet_frames,
    snr_db,
)
from corpus.align.quality.talk import Talk, TalkIndex
from corpus.schemas.activity import PADDED, SPEECH
from corpus.schemas.arrays import BoolArray, Float64Array, Int16Array, UInt8Array
from corpus.schemas.artifacts import Voices
from corpus.schemas.clock import FRAMES_PER_WINDOW, WINDOW_US, samples_per_window
from corpus.schemas.pcm import Pcm, VoicePcm
from corpus.schemas.quality import Quality
from corpus.schemas.span import Span

_Listener = Callable[[Int16Array, BoolArray, int], Opinion | None]
"""Rates how good speech sounds, from a mix, its frames with talk, and its sample rate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """The windows of one clip, and the number of windows written before it."""

    first_window: int
    windows: int
    written: int

    @property
    def span(self) -> Span:
        return Span(self.first_window * WINDOW_US, (self.first_window + self.windows) * WINDOW_US)


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What earlier stages found for the whole recording."""

    language: str | None = None
    language_probability: float | None = None
    diarization_confidence: tuple[tuple[int, int, float], ...] = ()
    """Start and stop in microseconds, ordered and disjoint, and how sure the diarizer is there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sound:
    """A recording's sound as decoded and by voice, and when each voice talks."""

    inputs: Pcm
    voices: VoicePcm
    head: Voices
    activity: UInt8Array
    """[channels, written windows, frames]"""


@dataclass(frozen=True, slots=True)
class _Heard:
    """What is known of one clip's sound before the recording's noise is known."""

    powers: Float64Array
    talk: BoolArray
    quiet: BoolArray
    clipping_share: float
    bandwidth_hz: float | None
    room_share: float | None
    opinion: Opinion | None


def measure(
    sound: Sound, talk: TalkIndex, told: Told, parts: Sequence[Part], listener: _Listener | None
) -> list[Quality]:
    """The facts of each part, in order."""
    heard = [_hear(sound, part, listener) for part in parts]
    everywhere = None
    if heard:
        powers, quiet = (
            np.concatenate([one.powers for one in heard]),
            np.concatenate([one.quiet for one in heard]),
        )
        everywhere = noise_power(powers, quiet)
    gain_db = sound.head.separation.si_sdri_db if sound.head.separation else None
    return [
        _quality(one, talk.of(part.span), told, part.span, everywhere, gain_db)
        for one, part in zip(heard, parts, strict=True)
    ]


def _hear(sound: Sound, part: Part, listener: _Listener | None) -> _Heard:
    rate = sound.voices.sample_rate_hz
    window = samples_per_window(rate)
    start, stop = part.first_window * window, (part.first_window + part.windows) * window
    inputs = [sound.inputs.read(channel, start, stop) for channel in range(sound.inputs.channels)]
    mix = np.zeros(stop - start, np.int32)
    for samples in inputs:
        mix += samples
    flags = sound.activity[:, part.written : part.written + part.windows].reshape(sound.voices.channels, -1)
    talk: BoolArray = np.bitwise_or.reduce(flags & SPEECH, axis=0) > 0
    padded: BoolArray = np.bitwise_and.reduce(flags & PADDED, axis=0) > 0
    powers = frame_powers(mix, window // FRAMES_PER_WINDOW)
    opinion = None
    if listener is not None and talk.any():
        opinion = listener(np.clip(mix, -32768, 32767).astype(np.int16), talk, rate)
    return _Heard(
        powers=powers,
        talk=talk & ~padded,
        quiet=quiet_frames(talk) & ~padded,
        clipping_share=max((clipping_share(samples) for samples in inputs), default=0.0),
        bandwidth_hz=bandwidth_hz(mix, rate),
        room_share=_room_share(sound.voices, start, stop),
        opinion=opinion,
    )


def _room_share(voices: VoicePcm, start: int, stop: int) -> float | None:
    energies = [_energy(voices.read(channel, start, stop)) for channel in range(voices.channels)]
    return energies[-1] / sum(energies) if any(energies) else None


def _energy(samples: Int16Array) -> float:
    """The sum of squares; an integer, exact as long as a clip's is under 2^53."""
    wide = samples.astype(np.float64)
    return float(np.dot(wide, wide))


def _quality(
    heard: _Heard, talk: Talk, told: Told, span: Span, everywhere: float | None, gain_db: float | None
) -> Quality:
    """The figures, rounded to differences that ears and filters can tell."""
    here = noise_power(heard.powers, heard.quiet)
    opinion = heard.opinion
    return Quality(
        snr_db=_rounded(snr_db(heard.powers, heard.talk, everywhere if here is None else here), 2),
        clipping_share=round(heard.clipping_share, 6),
        bandwidth_hz=heard.bandwidth_hz,
        speech_share=round(talk.speech_share, 6),
        overlap_share=round(talk.overlap_share, 6),
        monologue_us=talk.monologue_us,
        words_per_second=_rounded(talk.words_per_second, 3),
        word_confidence=_rounded(talk.word_confidence, 4),
        diarization_confidence=_rounded(_mean_over(told.diarization_confidence, span), 4),
        language=told.language or None,
        language_probability=_rounded(told.language_probability, 4),
        room_share=_rounded(heard.room_share, 6),
        separation_gain_db=_rounded(gain_db, 2),
        dnsmos_signal=_rounded(opinion.signal, 3) if opinion else None,
        dnsmos_background=_rounded(opinion.background, 3) if opinion else None,
        dnsmos_overall=_rounded(opinion.overall, 3) if opinion else None,
    )


def _rounded(value: float | None, places: int) -> float | None:
    return None if value is None else round(value, places)


def _mean_over(known: Sequence[tuple[int, int, float]], part: Span) -> float | None:
    """The mean of a figure over the part, weighted by time; the figure is known in some spans only."""
    weighted = total_us = 0.0
    for common_us, value in _within(known, part):
        weighted += common_us * value
        total_us += common_us
    return weighted / total_us if total_us else None


def _within(known: Sequence[tuple[int, int, float]], part: Span) -> Iterator[tuple[int, float]]:
    from bisect import bisect_right

    first = bisect_right(known, part.start_us, key=lambda one: one[1])
    for start_us, stop_us, value in known[first:]:
        if start_us >= part.stop_us:
            break
        yield min(stop_us, part.stop_us) - max(start_us, part.start_us), value
