"""DNSMOS: where it listens, that it needs its weights, and that it hears noise for what it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from corpus.align.models import find
from corpus.align.quality.dnsmos import Dnsmos, stretches
from corpus.schemas.errors import MissingModelError

LENGTH = 361
"""Frames of 25 ms that hold 9.01 s."""


def test_it_listens_where_most_is_said_and_nowhere_twice() -> None:
    talk = np.zeros(1200, bool)
    talk[700:1000] = True
    (only,) = stretches(talk, 1)
    assert talk[only : only + LENGTH].sum() == 300
    talk[100:150] = True
    both = stretches(talk, 2)
    assert len(both) == 2 and both[1] - both[0] >= LENGTH
    assert sum(talk[start : start + LENGTH].sum() for start in both) == 350
    assert len(stretches(talk, 9)) <= 3


def test_it_does_not_listen_where_nobody_talks() -> None:
    assert stretches(np.zeros(1200, bool), 3) == []
    assert stretches(np.ones(40, bool), 3) == [0]


def test_without_weights_the_error_says_both_ways_out(tmp_path: Path) -> None:
    with pytest.raises(MissingModelError, match=r"corpus models pull dnsmos.*quality\.dnsmos_stretches = 0"):
        Dnsmos(1, tmp_path)


@pytest.mark.models
def test_speech_in_noise_is_worse_than_speech(sample_pcm: object) -> None:
    try:
        find("dnsmos")
    except MissingModelError as error:
        pytest.skip(str(error))
    speech = sample_pcm.read(0, 0, 30 * 16_000)  # type: ignore[attr-defined]
    noise = np.random.default_rng(0).normal(0, 2000, len(speech))
    talk = np.ones(1200, bool)
    listener = Dnsmos(1)
    clean, noisy = (
        listener(sound.astype(np.int16), talk, 16_000)
        for sound in (speech, np.clip(speech + noise, -32768, 32767))
    )
    assert clean is not None and noisy is not None
    assert all(
        1 <= value <= 5 for one in (clean, noisy) for value in (one.signal, one.background, one.overall)
    )
    assert noisy.background < clean.background - 0.5 and noisy.overall < clean.overall
    assert listener(speech, talk, 16_000) == clean
