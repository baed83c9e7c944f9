"""The quality of a clip: measurements of its sound and its conversation. Definitions: docs/quality.md."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """Facts about one clip. None means unknown, never a bad figure."""

    snr_db: float | None
    """Speech power, less the power of quiet, relative to the power of quiet; -20 to 100."""
    clipping_share: float
    """Share of samples in flat tops, in the input channel that has most of them."""
    bandwidth_hz: float | None
    """The frequency above which there is nothing; None for digital silence."""
    speech_share: float
    """Share of the clip's time in which somebody talks."""
    overlap_share: float
    """Share of the clip's time in which two or more talk."""
    monologue_us: int
    """The longest stretch in which only one speaker is heard, pauses included."""
    words_per_second: float | None
    """Words that begin here per second of speech; None under 1 s of it, or without words in the recording."""
    word_confidence: float | None
    """Mean over the words that begin here and have a confidence."""
    diarization_confidence: float | None
    """How far the network's overlapping windows agree about who talks, averaged over the speech."""
    language: str | None
    """Code of the language recognised; several, from different channels, are separated by spaces."""
    language_probability: float | None
    """Probability of that language in the recording, if the recogniser detected it."""
    room_share: float | None
    """Share of the sound's energy that is in `room`; None for digital silence."""
    separation_gain_db: float | None
    """SI-SDR improvement of the recording's separator in its self-test; None without a separator."""
    dnsmos_signal: float | None
    """DNSMOS P.835, quality of the speech, 1 to 5; None if it was not measured or nobody talks."""
    dnsmos_background: float | None
    dnsmos_overall: float | None
