"""The pitch and loudness of every speaker's channel, block by block."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from corpus.align.prosody.pitch import HOP, RATE_HZ, WINDOW, pitch, without_jumps
from corpus.schemas.pcm import Pcm
from corpus.schemas.prosody import HOP_US, LOWEST_HZ, QUIETEST_DB, Prosody, Tracks

BLOCK_FRAMES = 3000
AROUND_FRAMES = 8
"""Frames read beyond a block's edges, so that results do not depend on where blocks end."""


def listen(pcm: Pcm, speakers: Sequence[str]) -> Tracks:
    """Tracks of the speakers, whose channels are the first ones in this order; memory holds one block."""
    hop = pcm.sample_rate_hz * HOP_US // 1_000_000
    frames = -(-pcm.stop_sample // hop)
    pitches = np.zeros((len(speakers), frames), np.int16)
    levels = np.zeros((len(speakers), frames), np.uint8)
    for channel in range(len(speakers)):
        for first in range(0, frames, BLOCK_FRAMES):
            stop = min(frames, first + BLOCK_FRAMES)
            sound = pcm.read(channel, (first - AROUND_FRAMES) * hop, (stop + AROUND_FRAMES) * hop)
            if sound.any():
                pitches[channel, first:stop], levels[channel, first:stop] = _of_block(sound, hop)
    return Tracks(Prosody(speakers=tuple(speakers), frames=frames), pitches, levels)


def _of_block(sound: npt.NDArray[np.int16], hop: int) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.uint8]]:
    samples = sound.astype(np.float32) / np.float32(32768)
    inside = slice(AROUND_FRAMES, len(samples) // hop - AROUND_FRAMES)
    power = np.square(samples).reshape(-1, hop).mean(axis=1)[inside]
    decibels = 10 * np.log10(np.maximum(power, np.float32(1e-13)))
    level = np.clip(np.rint(2 * (decibels - QUIETEST_DB)), 0, 255).astype(np.uint8)
    # A frame's window is centred on the frame: half of what it is longer lies on either side.
    # Averaging neighbours is a rough low-pass; pitch needs no more.
    slow = samples.reshape(-1, hop // HOP).mean(axis=1)
    hertz = without_jumps(pitch(np.pad(slow, (WINDOW - HOP) // 2)))[inside]
    voiced = hertz > 0
    cents = 1200 * np.log2(np.where(voiced, hertz, LOWEST_HZ) / LOWEST_HZ)
    return np.where(voiced, np.rint(cents), 0).astype(np.int16), level


assert HOP * 100 == RATE_HZ
