from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from corpus.schemas.errors import SettingsError
from corpus.shards.mel import LOW, STEP
from corpus.trainer.config import ModelConfig
from corpus.trainer.data.levels import byte_of_level, level_of_byte, value_of_byte


@pytest.mark.parametrize(("levels", "low", "high"), [(16, -5.0, 1.0), (32, -5.0, 1.5), (2, -7.0, 2.0)])
def test_a_level_comes_back_from_its_byte(tiny: ModelConfig, levels: int, low: float, high: float) -> None:
    config = dataclasses.replace(tiny, audio_levels=levels, audio_low=low, audio_high=high)
    assert level_of_byte(config)[byte_of_level(config)].tolist() == list(range(levels))


def test_levels_never_fall_and_a_byte_lies_in_its_level(tiny: ModelConfig) -> None:
    level = level_of_byte(tiny).astype(int)
    assert (np.diff(level) >= 0).all()
    assert level[0] == 0 and level[255] == 15
    for byte in range(256):
        middle = LOW + (byte + 0.5) * STEP
        expected = int(np.floor((middle - tiny.audio_low) / 0.375))
        assert level[byte] == min(max(expected, 0), 15)


def test_levels_finer_than_the_bytes_are_refused(tiny: ModelConfig) -> None:
    config = dataclasses.replace(tiny, audio_levels=256, audio_low=-1.0, audio_high=1.0)
    with pytest.raises(SettingsError, match="no mel byte falls into level"):
        byte_of_level(config)


def test_an_empty_range_is_refused(tiny: ModelConfig) -> None:
    with pytest.raises(SettingsError, match="is not below"):
        level_of_byte(dataclasses.replace(tiny, audio_low=1.0, audio_high=1.0))


def test_values_scale_the_range_to_one(tiny: ModelConfig) -> None:
    value = value_of_byte(tiny)
    assert np.allclose(np.diff(value), STEP / 3)
    assert value[int((-5.0 - LOW) / STEP)] == pytest.approx(-1, abs=STEP / 3)
