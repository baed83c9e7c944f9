"""Makes overlaps from a recording's own speech, for which the truth is known.

a  ─────────────────        a joins b, as at a change of speaker,       a  ────────────────────────
b       ─────────────────   and b inside a, as "yeah, exactly":         b         ──────────
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from corpus.align.backend import MODEL_RATE_HZ
from corpus.align.separate.overlaps import Talk, alone, several_talk
from corpus.schemas.arrays import BoolArray, Float32Array
from corpus.schemas.clock import sample_at
from corpus.schemas.span import Span, intersect, union

_SHORTEST_US = 2_000_000
_LONGEST_US = 6_000_000
LEAST_US = 10_000_000
"""Speech alone that a speaker needs for the test."""
_MOST = 8
"""The most mixtures for one recording."""

Read = Callable[[Span], Float32Array]
"""The recording's sound at `MODEL_RATE_HZ`."""


@dataclass(frozen=True, slots=True)
class Mixture:
    """Two people's speech laid over each other."""

    voices: Float32Array
    """[2, samples]: each speaker's speech, zeros where he does not talk."""
    talking: BoolArray
    """[2, samples]: whether each talks."""

    @property
    def sound(self) -> Float32Array:
        summed: Float32Array = self.voices.sum(axis=0)
        return summed

    @property
    def both(self) -> BoolArray:
        together: BoolArray = np.logical_and(*self.talking)
        return together

    @property
    def alone(self) -> BoolArray:
        return self.talking & ~self.both


def solo_pieces(talk: Talk, written: Sequence[Span]) -> dict[str, list[Span]]:
    """Pieces of speech alone, for speakers who have enough of it."""
    of_speaker: dict[str, list[Span]] = {}
    for name in talk:
        solo = alone(talk, name)
        pieces = [
            Span(start_us, min(start_us + _LONGEST_US, span.stop_us))
            for stretch in written
            for span in intersect(solo, [stretch])
            for start_us in range(span.start_us, span.stop_us, _LONGEST_US)
        ]
        long = [piece for piece in pieces if piece.duration_us >= _SHORTEST_US]
        if sum(piece.duration_us for piece in long) >= LEAST_US:
            of_speaker[name] = long
    return of_speaker


def mixtures(talk: Talk, pieces: Mapping[str, Sequence[Span]], read: Read) -> list[Mixture]:
    """Up to `_MOST` mixtures, most of them of pairs whose real overlaps are longest."""
    pairs = sorted(combinations(pieces, 2), key=lambda pair: -_overlap_us(talk, pair))
    used = dict.fromkeys(pieces, 0)
    made_up: list[Mixture] = []
    for number in range(_MOST if pairs else 0):
        sounds: list[Float32Array] = []
        for name in pairs[number % len(pairs)]:
            # Even steps through the recording.
            own = pieces[name]
            sounds.append(read(own[used[name] * len(own) // _MOST % len(own)]))
            used[name] += 1
        first, second = sounds if number % 4 < 2 else sounds[::-1]
        made_up.append(_joining(first, second) if number % 2 == 0 else _inside(first, second))
    return made_up


def _overlap_us(talk: Talk, pair: tuple[str, str]) -> int:
    return sum(span.duration_us for span in several_talk({name: talk[name] for name in pair}))


def _joining(first: Float32Array, second: Float32Array) -> Mixture:
    return _placed(first, second, len(first) // 4)


def _inside(first: Float32Array, second: Float32Array) -> Mixture:
    outer, inner = (first, second) if len(first) >= len(second) else (second, first)
    return _placed(outer, inner[: len(outer) // 2], len(outer) // 4)


def _placed(first: Float32Array, second: Float32Array, at: int) -> Mixture:
    samples = max(len(first), at + len(second))
    voices, talking = np.zeros((2, samples), np.float32), np.zeros((2, samples), bool)
    for row, (sound, start) in enumerate(((first, 0), (second, at))):
        voices[row, start : start + len(sound)] = sound
        talking[row, start : start + len(sound)] = True
    return Mixture(voices, talking)


def flags(spans: Sequence[Span], heard: Span, samples: int) -> BoolArray:
    """[samples] at `MODEL_RATE_HZ` from the start of `heard`: whether each lies inside the spans."""
    covered = np.zeros(samples, bool)
    for span in union(spans):
        inside = span & heard
        if inside:
            start, stop = (
                sample_at(time_us - heard.start_us, MODEL_RATE_HZ)
                for time_us in (inside.start_us, inside.stop_us)
            )
            covered[start:stop] = True
    return covered
