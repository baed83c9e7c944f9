"""Speakers of several stretches of one recording, found to be the same by their voices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

SAME_VOICE = 0.45
"""Cosine distance up to which two groups of stretches are one speaker, on average over their pairs."""
APART = 2.0
"""The distance of two speakers of one stretch: they are different people, whatever their voices."""


@dataclass(frozen=True, slots=True)
class Voice:
    """One speaker of one stretch."""

    stretch: int
    label: str
    vector: npt.NDArray[np.float64] | None
    talk_us: int


def link(voices: Sequence[Voice], *, at_least: int = 1, at_most: int | None = None) -> list[int]:
    """A number for each voice, the same for the same speaker.

    Voices are joined closest first (average linkage) up to `SAME_VOICE`, further where there would
    be more than `at_most`. There are a few voices for every ten minutes, so the cost is that of
    comparing these, not of comparing the sound. A voice without a vector joins the one that talks most.
    """
    known = [place for place, voice in enumerate(voices) if voice.vector is not None]
    numbers = dict(zip(known, _cluster([voices[p] for p in known], at_least, at_most), strict=True))
    if not known:
        numbers = {place: 0 for place in range(len(voices))} if at_most == 1 else _by_label(voices)
    loudest = max(known, key=lambda place: (voices[place].talk_us, -place)) if known else 0
    return [numbers.get(place, numbers.get(loudest, 0)) for place in range(len(voices))]


def _by_label(voices: Sequence[Voice]) -> dict[int, int]:
    labels = sorted({voice.label for voice in voices})
    return {place: labels.index(voice.label) for place, voice in enumerate(voices)}


def _cluster(voices: Sequence[Voice], at_least: int, at_most: int | None) -> list[int]:
    if len(voices) < 2:
        return [0] * len(voices)
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    distances = _distances(voices)
    tree = linkage(squareform(distances, checks=False), method="average")
    numbers = fcluster(tree, SAME_VOICE, criterion="distance")
    count = int(numbers.max())
    if at_most is not None and count > at_most:
        numbers = fcluster(tree, at_most, criterion="maxclust")
    elif count < at_least:
        numbers = fcluster(tree, at_least, criterion="maxclust")
    return [int(number) for number in numbers]


def _distances(voices: Sequence[Voice]) -> npt.NDArray[np.float64]:
    vectors = np.stack([voice.vector for voice in voices if voice.vector is not None])
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    units = vectors / np.where(norms > 0, norms, 1.0)
    distances: npt.NDArray[np.float64] = np.clip(1.0 - units @ units.T, 0.0, 2.0)
    stretches = np.array([voice.stretch for voice in voices])
    distances[stretches[:, None] == stretches[None, :]] = APART
    np.fill_diagonal(distances, 0.0)
    symmetric: npt.NDArray[np.float64] = (distances + distances.T) / 2
    return symmetric
