"""How often words and pairs are said, and how often they are in, at the end of, or after a reparandum."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from corpus.align.cues.repair_words import Said
from corpus.schemas.arrays import Float32Array, Float64Array, Int64Array

NOBODY = -1
"""Stands for the word before the first of a stretch and behind the last."""
_FEWEST_OF_A_PAIR = 2


@dataclass(frozen=True, slots=True)
class WordStatistics:
    """Counts by word and by pair; the last row of each table is that of what was never counted."""

    rows: Mapping[str, int]
    words: Float32Array
    """`[words + 1, 4]`: how often, in a reparandum, last of one, first behind one."""
    pair_keys: Int64Array
    """First word's row times the number of words, plus the second's; ascending."""
    pairs: Float32Array
    """`[pairs + 1, 4]`: how often, the first ends a reparandum, the first is in one, the second ends one."""
    total: float

    @classmethod
    def of(
        cls, said: Sequence[Said], inside: Sequence[Int64Array], ends: Sequence[Int64Array]
    ) -> WordStatistics:
        """Counted from words with their tags."""
        rows = {text: row for row, text in enumerate(sorted({text for one in said for text in one.texts}))}
        words = np.zeros((len(rows) + 1, 4), np.float32)
        counts: dict[int, Counter[str]] = {}
        for one, tagged, ended in zip(said, inside, ends, strict=True):
            ids = np.array([rows[text] for text in one.texts], np.int64)
            np.add.at(words, ids, np.stack([np.ones(len(ids)), tagged, ended, np.zeros(len(ids))], axis=1))
            follows = np.flatnonzero(one.stretch[1:] == one.stretch[:-1])
            np.add.at(words[:, 3], ids[follows + 1], ended[follows])
            for i in follows:
                count = counts.setdefault(int(ids[i] * len(rows) + ids[i + 1]), Counter())
                count.update(n=1, end=int(ended[i]), inside=int(tagged[i]), second=int(ended[i + 1]))
        kept = sorted(key for key, count in counts.items() if count["n"] >= _FEWEST_OF_A_PAIR)
        pairs = np.zeros((len(kept) + 1, 4), np.float32)
        for row, key in enumerate(kept):
            pairs[row] = [counts[key][name] for name in ("n", "end", "inside", "second")]
        return cls(rows, words, np.array(kept, np.int64), pairs, float(words[:, 0].sum()))

    def ids(self, texts: Sequence[str]) -> Int64Array:
        """The words' rows; words that were never counted have the last."""
        return np.array([self.rows.get(text, len(self.rows)) for text in texts], np.int64)

    def of_pairs(self, first: Int64Array, second: Int64Array) -> Float32Array:
        """Rows of `pairs` for words by their rows; `NOBODY` and unknown words make no pair."""
        size = len(self.rows)
        known = (first >= 0) & (first < size) & (second >= 0) & (second < size)
        keys = np.where(known, first * size + second, -1)
        places = np.searchsorted(self.pair_keys, keys)
        place = np.minimum(places, max(0, len(self.pair_keys) - 1))
        hit = self.pair_keys[place] == keys if len(self.pair_keys) else np.zeros(len(keys), np.bool_)
        return self.pairs[np.where(hit, place, len(self.pair_keys))]

    def log_likely(self, first: Int64Array, second: Int64Array) -> Float64Array:
        """log P(second | first), interpolated with the second word's own frequency."""
        never = len(self.rows)
        count = self.words[np.where(first >= 0, first, never), 0].astype(np.float64)
        often = self.words[np.where(second >= 0, second, never), 0].astype(np.float64)
        own = (often + 0.5) / (self.total + 1)
        pair = self.of_pairs(first, second)[:, 0].astype(np.float64)
        return np.asarray(np.log((pair + 2 * own) / (count + 2)))
