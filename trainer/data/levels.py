"""From the shards' mel bytes (256 levels) to the model's levels, and back.

The model's levels divide [audio_low, audio_high] evenly; what lies outside belongs to the outermost.
A byte belongs to the level its middle lies in, and a level stands for the byte nearest its own middle:
level -> byte -> level gives back every level.
"""

from __future__ import annotations

from fractions import Fraction
from math import floor

import numpy as np
import numpy.typing as npt

from corpus.schemas.errors import SettingsError
from corpus.shards.mel import LOW, STEP
from corpus.trainer.config import ModelConfig

BYTES = 256


def _middle(byte: int) -> Fraction:
    """log10 magnitude in the middle of a mel byte's range."""
    return Fraction(str(LOW)) + (byte + Fraction(1, 2)) * Fraction(str(STEP))


def _edges(config: ModelConfig) -> tuple[Fraction, Fraction]:
    """The lowest level's lower edge, and the width of a level."""
    low, high = Fraction(str(config.audio_low)), Fraction(str(config.audio_high))
    return low, (high - low) / config.audio_levels


def level_of_byte(config: ModelConfig) -> npt.NDArray[np.uint8]:
    """(256,): the model's level of every mel byte."""
    low, step = _edges(config)
    if step <= 0:
        raise SettingsError(
            f"audio_low {config.audio_low} is not below audio_high {config.audio_high}",
            where="model",
            todo="swap them",
        )
    levels = (floor((_middle(byte) - low) / step) for byte in range(BYTES))
    return np.array([min(max(level, 0), config.audio_levels - 1) for level in levels], np.uint8)


def byte_of_level(config: ModelConfig) -> npt.NDArray[np.uint8]:
    """(levels,): the mel byte that stands for a level."""
    low, step = _edges(config)
    level = level_of_byte(config)
    found = []
    for wanted in range(config.audio_levels):
        middle = low + (wanted + Fraction(1, 2)) * step
        own = [byte for byte in range(BYTES) if level[byte] == wanted]
        if not own:
            raise SettingsError(
                f"{config.audio_levels} levels over [{config.audio_low}, {config.audio_high}]: "
                f"no mel byte falls into level {wanted}",
                where="model",
                todo="take fewer levels or a wider range inside [-7.3, 2.3]",
            )
        found.append(min(own, key=lambda byte: (abs(_middle(byte) - middle), byte)))
    return np.array(found, np.uint8)


def value_of_byte(config: ModelConfig) -> npt.NDArray[np.float64]:
    """(256,): log10 magnitude scaled so that [audio_low, audio_high] becomes [-1, 1]; not clipped."""
    low, high = Fraction(str(config.audio_low)), Fraction(str(config.audio_high))
    values = ((2 * _middle(byte) - low - high) / (high - low) for byte in range(BYTES))
    return np.array([float(value) for value in values])
