"""How well a word would follow if those before it were removed, by word classes and by the words.

`I want | I need the`: after a slip, a word continues what preceded the slip.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from corpus.align.cues.repair_words import CLASSES, Said, word_class
from corpus.schemas.arrays import Float32Array, Float64Array, Int64Array

_OTHER = len(CLASSES) - 1
_ENDINGS = ("ing", "ed", "ly", "s", "er", "tion", "y", "e", "n't")
"""What tells words of no class apart: their endings, roughly their parts of speech."""
_KINDS = len(CLASSES) + len(_ENDINGS)
_BEGIN = _KINDS
"""Stands for what is before a stretch of talk."""
_FARTHEST_SKIP = 4
PRIOR_END = 0.03


def _fine_class(text: str) -> int:
    """The word's class; words of no class by their ending."""
    known = word_class(text)
    if known != _OTHER:
        return known
    for number, ending in enumerate(_ENDINGS):
        if text.endswith(ending) and len(text) > len(ending) + 1:
            return len(CLASSES) + number
    return _OTHER


@dataclass(frozen=True, slots=True)
class Grammar:
    """Counts of sequences of word classes."""

    pairs: Float32Array
    """`[first, second, 2]`: how often, and how often a reparandum ends between the two."""
    triples: Float32Array
    """`[before the first, first, second]`, slips taken out."""

    @classmethod
    def of(cls, said: Sequence[Said], inside: Sequence[Int64Array], ends: Sequence[Int64Array]) -> Grammar:
        """Count words with their tags."""
        pairs = np.zeros((_KINDS, _KINDS, 2), np.float32)
        triples = np.zeros((_KINDS + 1, _KINDS + 1, _KINDS + 1), np.float32)
        for one, tagged, ended in zip(said, inside, ends, strict=True):
            kinds = fine_classes(one)
            follows = one.stretch[1:] == one.stretch[:-1]
            np.add.at(pairs[..., 0], (kinds[:-1][follows], kinds[1:][follows]), 1)
            np.add.at(pairs[..., 1], (kinds[:-1][follows], kinds[1:][follows]), ended[:-1][follows])
            fluent = np.flatnonzero(np.asarray(tagged) == 0)
            before, first, second = (_before(kinds[fluent], one.stretch[fluent], far) for far in (2, 1, 0))
            known = first != _BEGIN
            np.add.at(triples, (before[known], first[known], second[known]), 1)
        return cls(pairs, triples)


def fine_classes(said: Said) -> Int64Array:
    return np.array([_fine_class(text) for text in said.texts], np.int64)


def _before(kinds: Int64Array, stretch: Int64Array, far: int) -> Int64Array:
    """The class of the word `far` before, `_BEGIN` where the stretch has none."""
    moved = np.full(len(kinds), _BEGIN, np.int64)
    known = max(0, len(kinds) - far)
    moved[far:] = np.where(stretch[far:] == stretch[:known], kinds[:known], _BEGIN)
    return moved


def flow_columns(said: Said, grammar: Grammar) -> list[npt.NDArray[np.generic]]:
    """For each word: how likely the next is, how much likelier with one to four words skipped, and ends."""
    kinds, n = fine_classes(said), len(said)
    following = np.full(n, _BEGIN, np.int64)
    same = said.stretch[1:] == said.stretch[:-1]
    following[:-1] = np.where(same, kinds[1:], _BEGIN)

    def likely(far: int) -> Float64Array:
        before, first = (_before(kinds, said.stretch, far + more) for more in (1, 0))
        count = grammar.triples[before, first, following].astype(np.float64)
        total = grammar.triples[before, first].sum(axis=-1).astype(np.float64)
        return np.asarray(np.log((count + 0.2) / (total + 4)))

    own = likely(0)
    known = following != _BEGIN
    table = grammar.pairs[kinds, np.where(known, following, 0)].astype(np.float64)
    ends = np.where(known, (table[:, 1] + 5 * PRIOR_END) / (table[:, 0] + 5), PRIOR_END)
    skipped = [np.where(known, likely(far) - own, 0.0) for far in range(1, _FARTHEST_SKIP + 1)]
    return [np.where(known, own, 0.0), *skipped, ends, *_alike(kinds, said.stretch)]


def _alike(kinds: Int64Array, stretch: Int64Array) -> list[npt.NDArray[np.generic]]:
    """How many words in a row have the class of those one to four on; from this word, and up to it."""
    n = len(kinds)
    columns: list[npt.NDArray[np.generic]] = []
    for far in range(1, _FARTHEST_SKIP + 1):
        same = np.zeros(n, np.bool_)
        here, there = slice(0, max(0, n - far)), slice(far, None)
        alike = (kinds[here] == kinds[there]) & (stretch[here] == stretch[there])
        same[here] = alike & (kinds[here] != _OTHER)
        run, alive = np.zeros(n, np.int64), same.copy()
        for along in range(1, 4):
            run += alive
            further = np.zeros(n, np.bool_)
            further[: max(0, n - along)] = same[along:]
            alive &= further
        until = np.zeros(n, np.int64)
        until[far - 1 :] = run[: max(0, n - far + 1)]
        columns += [run, until]
    return columns
