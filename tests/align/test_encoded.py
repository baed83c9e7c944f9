"""What is kept of the encoder's outputs, and where it is found again."""

from __future__ import annotations

import numpy as np
import pytest

from corpus.align.encoded import MOST_OUTSIDE, RATE_HZ, Encoded
from corpus.schemas.clock import sample_at

SECOND = RATE_HZ
ZERO_US = 7_000_063  # between two samples, as the times of turns are
SOUND = np.random.default_rng(2).normal(size=50 * SECOND).astype(np.float32)
STATES = np.arange(1500, dtype=np.float32)[None, :, None]


@pytest.fixture
def encoded() -> Encoded:
    """Two windows, the second of which ends with the sound."""
    kept = Encoded(SOUND, ZERO_US)
    kept.add(0, 30 * SECOND, STATES)
    kept.add(26 * SECOND, 24 * SECOND, STATES + 10_000)
    return kept


@pytest.mark.parametrize("later_us", [0, 1, 62, 63, 500_007, 40_000_000])
def test_sound_is_found_at_its_time_alone(later_us: int, encoded: Encoded) -> None:
    at_us = ZERO_US + later_us
    first = sample_at(at_us, RATE_HZ) - sample_at(ZERO_US, RATE_HZ)
    some = SOUND[first : first + 3 * SECOND]
    assert encoded.place(some, at_us) == first
    assert encoded.place(some + np.float32(1e-6), at_us) is None
    assert encoded.place(some, at_us + 63) is None
    assert encoded.place(some, 1_000_000) is None
    assert encoded.place(some, at_us + 60_000_000) is None


def test_a_part_is_cut_out_of_the_first_window_that_has_it(encoded: Encoded) -> None:
    part = encoded.part(27 * SECOND, 3 * SECOND)
    assert part is not None and part.first == 1350 and part.states[0, [0, -1], 0].tolist() == [1350, 1499]
    part = encoded.part(27 * SECOND + 321, 4 * SECOND)
    assert part is not None and part.first == 51
    assert part.states[0, [0, -1], 0].tolist() == [10_051, 10_251]
    assert part.after(20).first == 71 and part.after(20).states[0, 0, 0] == 10_071


def test_what_no_window_has_is_no_part(encoded: Encoded) -> None:
    assert encoded.part(20 * SECOND, 10 * SECOND + MOST_OUTSIDE) is not None
    assert encoded.part(20 * SECOND, 10 * SECOND + MOST_OUTSIDE + 1) is None
    assert Encoded(SOUND, 0).part(0, SECOND) is None
