"""Putting recorders with drifting clocks on one clock.

Two recorders that count "48000 per second" differ by some millionths, and after an hour by a tenth of a
second. If one picks up the other (drift.py), the difference is measured; if the measurement is certain, the
channel is read at its own pace, so that what was said at the same time is at the same position.

    second 3600 of the first file's clock    reads second 3600 * (1 + ppm / 1e6) of the other's
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from corpus.align.crosstalk import Heard
from corpus.align.drift import TOLD_PPM, Drift, drift
from corpus.schemas.arrays import Float64Array, Int16Array
from corpus.schemas.artifacts import ChannelSpan, Decoded
from corpus.schemas.clock import us_of_sample
from corpus.schemas.pcm import Pcm
from corpus.schemas.recording import Oddity

VERSION = "clocks/1"
SURE_PPM = 2.5
"""Largest error (twice the standard error) of a drift that is corrected; otherwise it is only reported."""
LARGEST_PPM = 500.0
"""No recorder's clock is further off: a larger measurement is something else."""
TAPS = 32
"""Taps of the sinc between samples; its error is below int16's rounding up to 6 kHz."""
BLOCK = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast a channel's clock runs relative to the first one's."""

    channel: int
    ppm: float
    """Positive if it counts too many seconds."""
    error_ppm: float
    """Twice the standard error."""

    @property
    def corrected(self) -> bool:
        return TOLD_PPM <= abs(self.ppm) <= LARGEST_PPM and self.error_ppm <= SURE_PPM


@dataclass(frozen=True, slots=True, kw_only=True)
class Paces:
    """The paces that could be measured, as a file."""

    paces: tuple[Pace, ...]


def reference_of(decoded: Decoded) -> int | None:
    """The channel whose clock is kept (the picture's if it has one); None unless each has its own file."""
    files = [stream.file for stream in decoded.streams if stream.kind == "audio" and stream.chosen]
    if len(files) != len(decoded.channels) or len(files) < 2 or len(set(files)) != len(files):
        return None
    pictured = [stream.file for stream in decoded.streams if stream.kind == "video" and stream.chosen]
    return files.index(pictured[0]) if pictured and pictured[0] in files else 0


def paces(pcm: Pcm, heard: Heard, reference: int) -> list[Pace]:
    """The pace of every channel that picks up, or is picked up by, the reference or one of known pace."""
    known = {reference: Pace(channel=reference, ppm=0.0, error_ppm=0.0)}
    while True:
        new = [
            pace
            for one in known.values()
            for other in range(pcm.channels)
            if other not in known and (pace := _against(pcm, heard, one, other)) is not None
        ]
        if not new:
            return [pace for channel, pace in sorted(known.items()) if channel != reference]
        for pace in new:
            known.setdefault(pace.channel, pace)


def _against(pcm: Pcm, heard: Heard, one: Pace, other: int) -> Pace | None:
    """`other`'s pace from what one of the two hears of the other; the louder copy tells more."""
    forth, back = heard.gain[other, one.channel], heard.gain[one.channel, other]
    if max(forth, back) <= 0:
        return None
    source, target = (one.channel, other) if forth >= back else (other, one.channel)
    apart: Drift | None = drift(pcm, source, target, heard.own[source])
    if apart is None:
        return None
    ppm = apart.ppm if target == other else -apart.ppm
    return Pace(
        channel=other,
        ppm=round(one.ppm + ppm, 2),
        error_ppm=round(float(np.hypot(one.error_ppm, apart.error_ppm)), 2),
    )


def on_one_clock(decoded: Decoded, folder: Path, found: Sequence[Pace], out: Path) -> Decoded:
    """Write the channels that are corrected into `out`, and the head that says so."""
    pcm = Pcm(folder, len(decoded.channels), decoded.segments, decoded.sample_rate_hz)
    ppm_of = {pace.channel: pace.ppm for pace in found if pace.corrected}
    for channel, ppm in ppm_of.items():
        with (out / f"channel-{channel}.i16").open("wb") as file:
            for start, stop in pcm.blocks(BLOCK):
                file.write(_at_pace(pcm, channel, start, stop, 1 + ppm * 1e-6).astype("<i2").tobytes())
    return replace(
        decoded,
        padded=tuple(_moved(span, ppm_of) for span in decoded.padded),
        saturated=tuple(_moved(span, ppm_of) for span in decoded.saturated),
        oddities=(*decoded.oddities, *(_oddity(decoded, pace) for pace in found if pace.corrected)),
    )


def _at_pace(pcm: Pcm, channel: int, start: int, stop: int, pace: float) -> Int16Array:
    """Samples `[start, stop)` of the common clock, by a windowed sinc between the channel's own."""
    places = np.arange(start, stop, dtype=np.float64) * pace
    first = int(places[0]) - TAPS // 2 + 1
    sound = pcm.read(channel, first, int(places[-1]) + TAPS // 2 + 1).astype(np.float64)
    whole = np.floor(places).astype(np.int64)
    samples = np.zeros(stop - start)
    for tap in range(TAPS):
        away = places - whole - (tap - TAPS // 2 + 1)
        samples += _kernel(away) * sound[whole - first - TAPS // 2 + 1 + tap]
    rounded: Int16Array = np.clip(np.rint(samples), -32768, 32767).astype(np.int16)
    return rounded


def _kernel(away: Float64Array) -> Float64Array:
    """A sinc under a Kaiser window, `away` samples from its middle."""
    inside = np.clip(1 - np.square(2 * away / TAPS), 0, None)
    weights: Float64Array = np.sinc(away) * np.i0(8.0 * np.sqrt(inside)) / np.i0(8.0)
    return weights


def _moved(span: ChannelSpan, ppm_of: Mapping[int, float]) -> ChannelSpan:
    pace = 1 + ppm_of.get(span.channel, 0.0) * 1e-6
    return replace(span, start_us=round(span.start_us / pace), stop_us=round(span.stop_us / pace))


def _oddity(decoded: Decoded, pace: Pace) -> Oddity:
    moved_ms = abs(pace.ppm) * decoded.duration_us / 1e9
    lost = (
        "the same length at its end lies after the last window" if pace.ppm < 0 else "silence fills the end"
    )
    name = decoded.channels[pace.channel]
    return Oddity(
        code="clock_corrected",
        detail=(
            f"the clock of {name or f'channel {pace.channel}'} runs {abs(pace.ppm):.1f} millionths"
            f" {'fast' if pace.ppm > 0 else 'slow'} (within {pace.error_ppm:.1f}), {moved_ms:.0f} ms at the"
            f" end; its sound was put on the first file's clock, {lost}"
        ),
        start_us=0,
        stop_us=us_of_sample(
            (decoded.segments[-1].first_window + decoded.segments[-1].windows)
            * (decoded.sample_rate_hz // 5),
            decoded.sample_rate_hz,
        ),
    )
