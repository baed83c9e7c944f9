"""Crosstalk between microphones: finding parts of a channel that are a quieter copy of another's speech.

    channel j   ▁▁▇▇▇▇▇▁▁▁▁▁▁▁▁▁     talks
    channel i   ▁▁▂▂▂▂▂▁▁▁▇▇▇▁▁▁     hears j at -20 dB, then talks
    predicted   ▁▁▂▂▂▂▂▂▂▁▁▁▁▁▁▁     j's level times the gain from j to i, held for as long as a room rings
    i's own     ▁▁▁▁▁▁▁▁▁▁▇▇▇▁▁▁     louder than predicted by `MARGIN`

The gain from one channel to another is the ratio of their levels while the other is silent: a low quantile of
it over all the time the one talks, so that real overlaps do not count as copies. This fails for a microphone
set so low that its own speaker is quieter there than their copy elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from corpus.schemas.arrays import BoolArray, Float64Array
from corpus.schemas.pcm import Pcm
from corpus.schemas.span import Span, subtract, union

STEP_US = 20_000
RING_STEPS = 15
"""Reverberation and the echo of a call: what is heard up to 0.3 s later may still be the copy."""
SMOOTH_STEPS = 5
"""A room colours a copy from sound to sound; over 0.1 s that evens out."""
QUANTILE = 0.5
"""Of the ratio: it holds while the other is silent for more than half of the time."""
MARGIN = 6.3
"""8 dB in power: how far a copy's level strays from what is predicted."""
NOISE_MARGIN = 4.0
"""Own speech stands 6 dB above the channel's noise."""
LEAST_STEPS = 50
"""A gain needs a second of talk."""
STRONG = 0.5
"""Gains come from the louder half of a channel's talk, where the copy is furthest above the noise."""
SHORTEST_COPY_US = 300_000
"""Less at the edge of own speech is its own beginning or end."""
LEAST_GAIN = 1e-4
"""-40 dB: no detector hears a quieter copy."""
BRIDGE_US = 200_000
SHORTEST_US = 100_000
PAD_US = 60_000
BLOCK_STEPS = 3000


@dataclass(frozen=True, slots=True)
class Heard:
    """Each channel's own speech, and how loudly it picks up the others."""

    own: list[list[Span]]
    gain: Float64Array
    """[to, from] power gains."""


def listen(pcm: Pcm, spoken: Sequence[Sequence[Span]]) -> Heard:
    """Each channel's speech without what it picks up from the others."""
    levels = smoothed(levels_of(pcm))
    talking = np.stack([flags_of(spans, levels.shape[1]) for spans in spoken])
    gain = gains(levels, talking)
    flags = own(levels, gain, talking)
    return Heard([own_spans(spans, row) for spans, row in zip(spoken, flags, strict=True)], gain)


def levels_of(pcm: Pcm) -> Float64Array:
    """[channels, steps]: mean power of each 20 ms from the recording's start; 1.4 MB an hour and channel."""
    step = pcm.sample_rate_hz * STEP_US // 1_000_000
    levels = np.zeros((pcm.channels, -(-pcm.stop_sample // step)))
    for first, stop in pcm.blocks(BLOCK_STEPS * step):
        for channel in range(pcm.channels):
            samples = pcm.read(channel, first, stop).astype(np.float64)
            rows = samples[: len(samples) // step * step].reshape(-1, step)
            levels[channel, first // step : first // step + len(rows)] = (rows**2).mean(axis=1)
    return levels


def smoothed(levels: Float64Array) -> Float64Array:
    """Means over `SMOOTH_STEPS` steps around each."""
    kernel = np.full(SMOOTH_STEPS, 1 / SMOOTH_STEPS)
    return np.stack([np.convolve(row, kernel)[SMOOTH_STEPS // 2 :][: len(row)] for row in levels])


def gains(levels: Float64Array, talking: BoolArray) -> Float64Array:
    """[to, from] power gains, zero where unknown; `levels`, `talking` [channels, steps]."""
    count = len(levels)
    gain = np.zeros((count, count))
    for source in range(count):
        mine = talking[source] & (levels[source] > 0)
        if mine.sum() < LEAST_STEPS:
            continue
        strong = mine & (levels[source] >= np.quantile(levels[source][mine], STRONG))
        for target in range(count):
            rest = [other for other in range(count) if other not in (source, target)]
            # where another is louder, the source's channel is itself the one that hears a copy
            alone = strong & np.all(levels[[target, *rest]] < levels[source], axis=0)
            if target != source and alone.sum() >= LEAST_STEPS // 2:
                # Against the held level: the copy of a sound may arrive while the sound itself has already
                # ended.
                ratio = levels[target][alone] / _held(levels[source])[alone]
                gain[target, source] = min(1.0, float(np.quantile(ratio, QUANTILE)))
    gain[gain < LEAST_GAIN] = 0.0
    return gain


def flags_of(speech: Sequence[Span], steps: int) -> BoolArray:
    """[steps]: whether speech touches the step."""
    flags = np.zeros(steps, bool)
    for span in speech:
        flags[span.start_us // STEP_US : -(-span.stop_us // STEP_US)] = True
    return flags


def own(levels: Float64Array, gain: Float64Array, talking: BoolArray) -> BoolArray:
    """[channels, steps]: where a channel is louder than the copies it picks up and than its noise.

    All steps for a channel that picks up nobody else.
    """
    held = np.stack([_held(row) for row in levels])
    flags = np.ones(levels.shape, bool)
    for target in range(len(levels)):
        if gain[target].any():
            predicted = (gain[target][:, None] * held).max(axis=0)
            noise = _noise(levels[target], talking[target])
            flags[target] = levels[target] > np.maximum(MARGIN * predicted, NOISE_MARGIN * noise)
    return flags


def own_spans(speech: Sequence[Span], flags: BoolArray) -> list[Span]:
    """The parts of a channel's speech that are its own, with the sound around them."""
    kept: list[Span] = []
    for span in speech:
        first, last = span.start_us // STEP_US, -(-span.stop_us // STEP_US)
        edges = np.flatnonzero(np.diff(np.concatenate([[False], flags[first:last], [False]]).astype(int)))
        runs = [
            Span((first + int(start)) * STEP_US, (first + int(stop)) * STEP_US)
            for start, stop in edges.reshape(-1, 2)
        ]
        long = [run for run in union(runs, bridge_us=BRIDGE_US) if run.duration_us >= SHORTEST_US]
        for run in long:
            padded = Span(max(0, run.start_us - PAD_US), run.stop_us + PAD_US) & span
            if padded:
                kept.append(padded)
    # Short rests beside own speech are its edges, not copies: only a whole turn may be that short.
    copies = [
        copy for copy in subtract(speech, kept) if copy.duration_us >= SHORTEST_COPY_US or copy in speech
    ]
    return subtract(speech, copies)


def _noise(level: Float64Array, talking: BoolArray) -> float:
    """The level where no speech is found; 0 where there is no such step."""
    quiet = level[~talking & (level > 0)]
    return float(np.median(quiet)) if len(quiet) else 0.0


def _held(level: Float64Array) -> Float64Array:
    """The highest level of the last `RING_STEPS` steps and the next one, as clocks may be slightly apart."""
    padded = np.concatenate([np.zeros(RING_STEPS), level, np.zeros(1)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, RING_STEPS + 2)
    highest: Float64Array = windows.max(axis=1)
    return highest
