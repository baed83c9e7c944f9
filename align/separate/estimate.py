"""Each speaker's sound in an overlap: whose a network's sources are, and how loud.

A network gives its sources in any order and at any level. Where one talks alone, beside the overlap, the
source that sounds there is his; the levels are those that make the mix of the sources, by least squares. A
speaker who is never alone nearby, as one who only says "yeah", has the source that is left.
"""

from __future__ import annotations

import numpy as np

from corpus.align.separate.separator import Separate
from corpus.schemas.arrays import BoolArray, Float32Array, Float64Array

_LEAST_ALONE = 4800
"""Samples, 0.3 s: less tells no source apart."""
_TINY = 1e-9


def estimate(
    separate: Separate, sound: Float32Array, alone: BoolArray, both: BoolArray
) -> Float32Array | None:
    """[speakers, samples] at the mix's level; None where it cannot be told whose the sources are.

    `alone` [speakers, samples] is where each is the only one who talks, `both` [samples] where several do.
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
    # how much of a source is the mix of the time in which one talks alone, of all such time
    scores = np.zeros((len(alone), len(sources)))
    for source, samples in enumerate(sources):
        whole = np.linalg.norm(samples[somebody]) + _TINY
        for speaker, own in enumerate(alone):
            if own.sum() >= _LEAST_ALONE:
                level = np.linalg.norm(sound[own]) + _TINY
                scores[speaker, source] = abs(samples[own] @ sound[own]) / (whole * level)
            else:
                # of what is left the one that sounds most in the overlap
                scores[speaker, source] = (
                    1e-3 * np.linalg.norm(samples[both]) / (np.linalg.norm(samples) + _TINY)
                )
    _, columns = linear_sum_assignment(-scores)
    return [int(column) for column in columns]


def _levels(sources: Float64Array, sound: Float32Array) -> Float64Array:
    """What each source is multiplied by so that together they come nearest to the mix."""
    products = sources @ sources.T
    products += np.eye(len(sources)) * (_TINY + 1e-6 * np.trace(products))
    return np.linalg.solve(products, sources @ sound.astype(np.float64)).astype(np.float64)
