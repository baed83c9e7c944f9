"""How good a clip is: what was measured of its sound and its conversation. Definitions: docs/quality.md."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """Facts of one clip. None stands for what cannot be told, never for a bad figure."""

    snr_db: float | None
    """Power of the sound where somebody talks over that where nobody does, less the latter; -20 to 100."""
    clipping_share: float
    """Of the samples: those in flat tops, in the input channel that has most of them."""
    bandwidth_hz: float | None
    """The frequency above which there is nothing; None where all is digital silence."""
    speech_share: float
    """Of the clip's time: somebody talks."""
    overlap_share: float
    """Of the clip's time: two or more talk."""
    monologue_us: int
    """The longest stretch in which one speaker is heard and nobody else, pauses included."""
    words_per_second: float | None
    """Words that begin here, a second of talk; None under 1 s of it, or without words in the recording."""
    word_confidence: float | None
    """Mean over the words that begin here and have one."""
    diarization_confidence: float | None
    """Mean over the talk of how far the windows that heard a moment agree about who talks."""
    language: str | None
    """Code of the language recognised; several, of channels, with spaces between."""
    language_probability: float | None
    """Of that language in the recording, where the recogniser found it by itself."""
    room_share: float | None
    """Share of the sound's energy that is in `room`; None where all is digital silence."""
    separation_gain_db: float | None
    """SI-SDR improvement of the recording's separator in its self-test; None without a separator."""
    dnsmos_signal: float | None
    """DNSMOS P.835, opinion of the speech, 1 to 5; None where it was not asked for, or nobody talks."""
    dnsmos_background: float | None
    dnsmos_overall: float | None
