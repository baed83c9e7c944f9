"""Identifying the speakers of several stretches of one recording by their voices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from corpus.align.clustering import group, unit

LITTLE_US = 3_000_000
"""So little talk in a stretch may be a noisy piece of another voice there, as only other stretches show."""


@dataclass(frozen=True, slots=True)
class Voice:
    """One speaker of one stretch."""

    stretch: int
    label: str
    vector: npt.NDArray[np.float64] | None
    talk_us: int


def link(
    voices: Sequence[Voice], same_voice: float, *, at_least: int = 1, at_most: int | None = None
) -> list[int]:
    """A number for each voice, the same for the same speaker.

    Voices are joined closest first (average linkage) up to the distance `same_voice`, further if there would
    be more than `at_most`; two of one stretch are never joined, unless one talks very little there. There are
    a few voices for every ten minutes, so the cost is that of comparing these, not the sound. A voice without
    a vector joins the one that talks most.
    """
    known = [place for place, voice in enumerate(voices) if voice.vector is not None]
    numbers = dict(
        zip(known, _cluster([voices[p] for p in known], same_voice, at_least, at_most), strict=True)
    )
    if not known:
        numbers = {place: 0 for place in range(len(voices))} if at_most == 1 else _by_label(voices)
    loudest = max(known, key=lambda place: (voices[place].talk_us, -place)) if known else 0
    return [numbers.get(place, numbers.get(loudest, 0)) for place in range(len(voices))]


def _by_label(voices: Sequence[Voice]) -> dict[int, int]:
    labels = sorted({voice.label for voice in voices})
    return {place: labels.index(voice.label) for place, voice in enumerate(voices)}


def _cluster(voices: Sequence[Voice], same_voice: float, at_least: int, at_most: int | None) -> list[int]:
    if not voices:
        return []
    vectors = unit(np.stack([voice.vector for voice in voices if voice.vector is not None]))
    stretches = np.array([voice.stretch for voice in voices])
    sure = np.array([voice.talk_us >= LITTLE_US for voice in voices])
    apart = (stretches[:, None] == stretches[None]) & sure[:, None] & sure[None]
    # A voice is never apart from itself.
    np.fill_diagonal(apart, False)
    groups = group(1.0 - vectors @ vectors.T, apart, same_voice, at_least=at_least, at_most=at_most)
    numbers = {place: number for number, places in enumerate(groups) for place in places}
    return [numbers[place] for place in range(len(voices))]
