"""Speech flags of frames, from turns; and flags converted to finer frames."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from corpus.schemas.activity import OVERLAP, SPEECH
from corpus.schemas.arrays import UInt8Array
from corpus.schemas.clock import FRAMES_PER_WINDOW, WINDOW_US
from corpus.schemas.conversation import Turn
from corpus.schemas.cover import Cover


def talk_flags(
    turns: Sequence[Turn], speakers: Sequence[str], start_us: int, windows: int, frames_per_window: int
) -> UInt8Array:
    """uint8 `[speakers + 1, windows, frames]` with SPEECH and OVERLAP, from the window at `start_us` on.

    SPEECH where a speaker's turns cover at least half of the frame, OVERLAP where another speaker has
    SPEECH too. The last channel, the room, has neither.
    """
    talk = np.zeros((len(speakers) + 1, windows * frames_per_window), bool)
    for channel, name in enumerate(speakers):
        own = Cover.of(turn.span for turn in turns if turn.speaker == name)
        talk[channel] = own.fills_half(start_us, talk.shape[1], WINDOW_US // frames_per_window)
    overlap = talk & (talk.sum(axis=0) > 1)
    flags: UInt8Array = talk.astype(np.uint8) * np.uint8(SPEECH) + overlap.astype(np.uint8) * np.uint8(
        OVERLAP
    )
    return flags.reshape(len(talk), windows, frames_per_window)


def finer_flags(flags: UInt8Array, talk: UInt8Array) -> UInt8Array:
    """Flags of 25 ms frames on the finer frames of `talk`: speech by the turns, other flags repeated."""
    others = flags & np.uint8(255 - SPEECH - OVERLAP)
    return np.repeat(others, talk.shape[2] // FRAMES_PER_WINDOW, axis=2) | talk
