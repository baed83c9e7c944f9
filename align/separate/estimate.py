"""Estimates each speaker's sound in an overlap: assigns a network's sources to speakers, sets their levels.

A network gives its sources in any order and at any level. A speaker gets the source that sounds where he
talks alone beside the overlap; the levels are those with which the sources add up to the mix, by least
squares. A speaker who is never alone nearby, for example one who only says "yeah", gets the remaining source.
"""

from __future__ import annotations

import numpy as np

from corpus.align.separate.separator import Separate
from corpus.schemas.arrays import BoolArray, Float32Array, Float64Array

_LEAST_ALONE = 4800
"""In samples (0.3 s); less is not enough to tell sources apart."""
_TINY = 1e-9


def estimate(
    separate: Separate, sound: Float32Array, alone: BoolArray, both: BoolArray
) -> Float32Array | None:
    """[speakers, samples] at the mix's level; None if the sources cannot be assigned to speakers.

    `alone` [speakers, samples] marks where only this speaker talks, `both` [samples] where several talk.
    """
    if (alone.sum(axis=1) < _LEAST_ALONE).sum() > 1:
        return None
    sources = separate(sound, len(alone)).astype(np.float64)
    if len(sources) < len(alone) or not np.isfinite(sources).all():
        return None
    mine = _sources_of(sources, sound.astype(np.float64), alone, both)
    chosen = sources[mine]
    voices: Float32Array = (chosen * _levels(chosen, sound)[:, None]).astype(np.float32)
    return voices


def _sources_of(sources: Float64Array, sound: Float64Array, alone: BoolArray, both: BoolArray) -> list[int]:
    """The source of each speaker."""
    from scipy.optimize import linear_sum_assignment

    somebody = alone.any(axis=0)
    # The share of a source's energy, over all time with a single talker, that falls where this one talks.
    scores = np.zeros((len(alone), len(sources)))
    for source, samples in enumerate(sources):
        whole = np.linalg.norm(samples[somebody]) + _TINY
        for speaker, own in enumerate(alone):
            if own.sum() >= _LEAST_ALONE:
                level = np.linalg.norm(sound[own]) + _TINY
                scores[speaker, source] = abs(samples[own] @ sound[own]) / (whole * level)
            else:
                # Of the remaining sources, the one that sounds most in the overlap.
                scores[speaker, source] = (
                    1e-3 * np.linalg.norm(samples[both]) / (np.linalg.norm(samples) + _TINY)
                )
    _, columns = linear_sum_assignment(-scores)
    return [int(column) for column in columns]


def _levels(sources: Float64Array, sound: Float32Array) -> Float64Array:
    """The factor for each source with which their sum comes nearest to the mix."""
    products = sources @ sources.T
    products += np.eye(len(sources)) * (_TINY + 1e-6 * np.trace(products))
    return np.linalg.solve(products, sources @ sound.astype(np.float64)).astype(np.float64)
