"""Conversion between the shards' mel bytes (256 levels) and the model's levels.

The model's levels divide [audio_low, audio_high] evenly; values outside belong to the outermost levels. A
byte belongs to the level that contains its middle, and a level is represented by the byte nearest its own
middle, so level -> byte -> level is the identity.
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
    # By their decimal text: in binary, edges that meet a byte's middle would fall to either side.
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
    nearest = []
    for number in range(config.audio_levels):
        middle = low + (number + Fraction(1, 2)) * step
        own = [byte for byte in range(BYTES) if level[byte] == number]
        if not own:
            raise SettingsError(
                f"{config.audio_levels} levels over [{config.audio_low}, {config.audio_high}]: "
                f"no mel byte falls into level {number}",
                where="model",
                todo="take fewer levels or a wider range inside [-7.3, 2.3]",
            )
        nearest.append(min(own, key=lambda byte: (abs(_middle(byte) - middle), byte)))
    return np.array(nearest, np.uint8)


def value_of_byte(config: ModelConfig) -> npt.NDArray[np.float64]:
    """(256,): log10 magnitude, with [audio_low, audio_high] scaled to [-1, 1]; not clipped."""
    low, high = Fraction(str(config.audio_low)), Fraction(str(config.audio_high))
    values = ((2 * _middle(byte) - low - high) / (high - low) for byte in range(BYTES))
    return np.array([float(value) for value in values])
