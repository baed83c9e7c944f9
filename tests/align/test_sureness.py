"""How sure it is who talks: of each second's talk, and on the recording's clock."""

from __future__ import annotations

import numpy as np

from corpus.align.backend import Found
from corpus.align.bundled import _sureness
from corpus.align.diarize import Stretch, sureness


def test_each_second_has_the_mean_activity_of_who_talks() -> None:
    activity = np.zeros((125, 2))  # 2.5 s in steps of 20 ms
    talk = np.zeros((125, 2), bool)
    talk[:50, 0] = True
    activity[:50, 0] = 0.8
    activity[:50, 1] = 0.4  # not decided to talk: does not count
    talk[100:125] = True
    activity[100:125] = (1.0, 0.5)
    assert _sureness(activity, talk, 40_000) == [(0.0, 1.0, 0.8), (2.0, 2.5, 0.75)]


def test_a_stretch_says_it_of_what_it_decides() -> None:
    stretches = [Stretch(0, 160_000, 0, 320_000), Stretch(160_000, 320_000, 0, 320_000)]
    found = [Found((), {}, ((8.0, 12.0, 0.9),)), Found((), {}, ((8.0, 12.0, 0.7), (15.0, 16.0, 1.0)))]
    assert sureness(stretches, found, 16_000) == (
        (8_000_000, 10_000_000, 0.9),
        (10_000_000, 12_000_000, 0.7),
        (15_000_000, 16_000_000, 1.0),
    )
