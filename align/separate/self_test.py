"""Tests whether a separator is good enough for a recording, on mixtures of the recording's own speech.

A bad separator makes words harder to recognise than in the mixture. So it is used only if it makes voices at
least `_LEAST_DB` purer, and if more words, but not more false ones, are recognised in them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

import numpy as np

from corpus.align.backend import MODEL_RATE_HZ
from corpus.align.separate.estimate import estimate
from corpus.align.separate.mixtures import LEAST_US, Mixture
from corpus.align.separate.separator import Separate
from corpus.schemas.arrays import BoolArray, Float32Array, Float64Array

_LEAST_DB = 8.0
"""From about here on, words in estimates were recognised as well as in clean speech."""
_LEAST_SPEAKERS = 2
_LEAST_WORDS = 10
_PAUSE_S = 1.0
"""Pause between two mixtures that are recognised one after the other."""
_QUIET = 1e-3
"""A voice whose power in the overlap is this share of its usual power (30 dB less) is pausing there."""

WordsOf = Callable[[Float32Array], Sequence[str]]
"""The words recognised in sound at `MODEL_RATE_HZ`."""


@dataclass(frozen=True, slots=True)
class Tested:
    """How well a separator does on a recording; figures are None if they could not be measured."""

    accepted: bool
    reason: str
    """The reason for the decision, as a clause."""
    si_sdri_db: float | None = None
    words_found: float | None = None
    words_invented: float | None = None


def self_test(load: Callable[[], Separate], mixtures: Sequence[Mixture], words_of: WordsOf | None) -> Tested:
    """Test a separator on the mixtures."""
    if not mixtures:
        return Tested(
            False,
            f"fewer than {_LEAST_SPEAKERS} speakers talk alone for {LEAST_US // 1_000_000} s, too little to"
            " test it",
        )
    if words_of is None:
        return Tested(
            False, "without a recogniser (transcribe.backend) nobody can tell what it does to words"
        )
    separate = load()
    estimates = [_taken_apart(separate, mixture) for mixture in mixtures]
    gains = [
        gain for mixture, row in zip(mixtures, estimates, strict=True) for gain in _gains_db(mixture, row)
    ]
    gain_db = float(np.mean(gains)) if gains else 0.0
    if gain_db < _LEAST_DB:
        return Tested(
            False,
            f"on mixtures of the recording's own speech it gains {gain_db:.1f} dB of SI-SDR, less than"
            f" {_LEAST_DB:g}",
            round(gain_db, 2),
        )
    gained, invented, words = _of_words(mixtures, estimates, words_of)
    measured = (round(gain_db, 2), round(gained, 3), round(invented, 3))
    figures = (
        f"on mixtures of the recording's own speech it gains {gain_db:.1f} dB of SI-SDR, {gained:+.1%} of"
        f" words and {invented:+.1%} of false words"
    )
    if words < _LEAST_WORDS:
        return Tested(False, f"only {words} words were recognised in the speech it is tested on", measured[0])
    return Tested(gained > 0 and invented <= 0, figures, *measured)


def _taken_apart(separate: Separate, mixture: Mixture) -> Float32Array:
    """[2, samples]: what the channels would hold; the mixture for both if sources cannot be assigned."""
    voices = estimate(separate, mixture.sound, mixture.alone, mixture.both)
    if voices is None:
        return np.where(mixture.talking, mixture.sound, np.float32(0))
    return np.where(mixture.both, voices, np.where(mixture.alone, mixture.sound, np.float32(0)))


def _gains_db(mixture: Mixture, made: Float32Array) -> list[float]:
    both = mixture.both
    return [
        si_sdr_db(estimated[both], voice[both]) - si_sdr_db(mixture.sound[both], voice[both])
        for voice, estimated, talking in zip(mixture.voices, made, mixture.talking, strict=True)
        if _sounds(voice, talking, both)
    ]


def _sounds(voice: Float32Array, talking: BoolArray, both: BoolArray) -> bool:
    if not both.any():
        return False
    return bool(np.mean(np.square(voice[both])) > _QUIET * np.mean(np.square(voice[talking])))


def si_sdr_db(estimated: Float32Array, truth: Float32Array) -> float:
    """Scale-invariant signal-to-distortion ratio (Le Roux et al. 2019), means removed, within 100 dB of 0."""
    a, b = (_centred(sound) for sound in (estimated, truth))
    target = (a @ b) / (b @ b + 1e-12) * b
    error = a - target
    return float(np.clip(10 * np.log10((target @ target + 1e-12) / (error @ error + 1e-12)), -100, 100))


def _centred(sound: Float32Array) -> Float64Array:
    wide = sound.astype(np.float64)
    centred: Float64Array = wide - wide.mean()
    return centred


def _of_words(
    mixtures: Sequence[Mixture], made: Sequence[Float32Array], words_of: WordsOf
) -> tuple[float, float, int]:
    """Found and false words in the estimates minus those in the mixture, per true word; and true words."""
    truths = [words_of(_in_a_row([mixture.voices[row] for mixture in mixtures])) for row in (0, 1)]
    estimated = [words_of(_in_a_row([voices[row] for voices in made])) for row in (0, 1)]
    mixed = words_of(_in_a_row([mixture.sound for mixture in mixtures]))
    words = sum(len(truth) for truth in truths)
    if not words:
        return 0.0, 0.0, 0
    right = [_matches(truth, own) for truth, own in zip(truths, estimated, strict=True)]
    right_before = [_matches(truth, mixed) for truth in truths]
    gained = sum(map(len, right)) - sum(map(len, right_before))
    invented = sum(map(len, estimated)) - sum(map(len, right))
    # A word in the mixture is false if neither speaker said it.
    invented_before = len(mixed) - len(set.union(*right_before))
    return gained / words, (invented - invented_before) / words, words


def _in_a_row(sounds: Sequence[Float32Array]) -> Float32Array:
    pause = np.zeros(int(_PAUSE_S * MODEL_RATE_HZ), np.float32)
    return np.concatenate([part for sound in sounds for part in (sound, pause)])


def _matches(truth: Sequence[str], words: Sequence[str]) -> set[int]:
    """Places of the words that match the truth, in its order."""
    blocks = SequenceMatcher(None, truth, words, autojunk=False).get_matching_blocks()
    return {place for block in blocks for place in range(block.b, block.b + block.size)}
