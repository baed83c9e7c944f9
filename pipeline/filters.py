"""Which clips the settings' filters leave out, each with its figure and the threshold it missed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from corpus.pipeline.measuring import MeasuredClip
from corpus.schemas.clock import US, WINDOW_US
from corpus.schemas.drops import Drop
from corpus.schemas.quality import Quality
from corpus.schemas.settings import FilterSettings

_SHOWN: dict[str, tuple[str, str, int]] = {
    "snr_db": ("SNR", " dB", 1),
    "clipping_share": ("the clipped share of samples", "", 5),
    "bandwidth_hz": ("the bandwidth", " Hz", 0),
    "speech_share": ("the share of time with talk", "", 3),
    "overlap_share": ("the share of time in which two or more talk", "", 3),
    "monologue_s": ("the longest monologue", " s", 1),
    "words_per_second": ("words a second of talk", "", 2),
    "word_confidence": ("the confidence of the words", "", 3),
    "diarization_confidence": ("the confidence of who talks", "", 3),
    "language_probability": ("the probability of the language", "", 3),
    "room_share": ("the share of the sound's energy in the room", "", 3),
    "separation_gain_db": ("the separation's gain", " dB", 1),
    "dnsmos_signal": ("DNSMOS of the speech", "", 2),
    "dnsmos_background": ("DNSMOS of the background", "", 2),
    "dnsmos_overall": ("DNSMOS overall", "", 2),
}
"""By fact: its name, its unit, the decimal places shown."""


def left_out(uri: str, clips: Sequence[MeasuredClip], filters: FilterSettings) -> list[Drop]:
    """A Drop for every clip that a filter leaves out, over its span; the first filter it fails names it."""
    drops = []
    for clip in clips:
        failed = list(_failed(clip.quality, filters))
        if failed:
            drops.append(
                Drop(
                    item=uri,
                    stage="filter",
                    kind="trim",
                    code=failed[0][0],
                    reason="; ".join(reason for _, reason in failed),
                    start_us=clip.first_window * WINDOW_US,
                    stop_us=(clip.first_window + clip.windows) * WINDOW_US,
                )
            )
    return drops


def first_windows(drops: Sequence[Drop]) -> frozenset[int]:
    """First windows of the clips that are left out."""
    return frozenset(drop.start_us // WINDOW_US for drop in drops if drop.start_us is not None)


def _failed(quality: Quality, filters: FilterSettings) -> Iterator[tuple[str, str]]:
    """Names of the filters that a clip fails and why, in the settings' order; an unknown fact fails none."""
    for name in FilterSettings.__dataclass_fields__:
        bound = getattr(filters, name)
        if name == "languages":
            if bound and quality.language is not None and not set(quality.language.split()) <= set(bound):
                yield name, f"language {quality.language} is not among filters.languages = {', '.join(bound)}"
            continue
        fact = name.removeprefix("min_").removeprefix("max_")
        value = quality.monologue_us / US if fact == "monologue_s" else getattr(quality, fact)
        if bound is None or value is None:
            continue
        low = name.startswith("min_")
        if (value < bound) if low else (value > bound):
            yield name, _sentence(name, fact, value, bound)


def _sentence(name: str, fact: str, value: float, bound: float) -> str:
    """The reason, with enough decimal places to distinguish the figure from the threshold."""
    what, unit, places = _SHOWN[fact]
    while places < 6 and f"{value:.{places}f}" == f"{bound:.{places}f}":
        places += 1
    side = "under" if name.startswith("min_") else "over"
    return f"{what} {value:.{places}f}{unit} is {side} filters.{name} = {bound:g}"
