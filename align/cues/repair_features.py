"""The self-correction tagger's features of each word: copies, classes, cut-offs and word statistics.

No times: a tagger trained on them learns one corpus's alignment and fails on other talk.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from corpus.align.cues.repair_words import Said
from corpus.schemas.arrays import Float32Array, Int64Array

FARTHEST = 8
"""A copy further on than this is not a repair."""
LONGEST_MATCH = 5


@dataclass(frozen=True, slots=True)
class WordStatistics:
    """How often words and pairs are said, and how often a reparandum holds or ends with them."""

    words: dict[str, tuple[float, float, float]]
    """count, in a reparandum, last of one."""
    pairs: dict[tuple[str, str], tuple[float, float]]
    """count, the first ends a reparandum."""
    total: float

    @classmethod
    def of(
        cls, said: Sequence[Said], inside: Sequence[Int64Array], ends: Sequence[Int64Array]
    ) -> WordStatistics:
        """Counted from words with their tags."""
        counts: dict[str, Counter[str]] = {"n": Counter(), "in": Counter(), "end": Counter()}
        pairs: Counter[tuple[str, str]] = Counter()
        pair_ends: Counter[tuple[str, str]] = Counter()
        for one, tagged, ended in zip(said, inside, ends, strict=True):
            counts["n"].update(one.texts)
            counts["in"].update(text for text, tag in zip(one.texts, tagged, strict=True) if tag)
            counts["end"].update(text for text, tag in zip(one.texts, ended, strict=True) if tag)
            for i in np.flatnonzero(one.stretch[1:] == one.stretch[:-1]):
                pair = (one.texts[i], one.texts[i + 1])
                pairs[pair] += 1
                pair_ends[pair] += int(ended[i])
        return cls(
            {w: (float(n), float(counts["in"][w]), float(counts["end"][w])) for w, n in counts["n"].items()},
            {pair: (float(n), float(pair_ends[pair])) for pair, n in pairs.items() if n > 1},
            float(sum(counts["n"].values())),
        )


def features(said: Said, statistics: WordStatistics) -> Float32Array:
    """float32 `[words, features]`."""
    ids = _ids(said)
    columns: list[npt.NDArray[np.generic]] = []
    for step in range(-3, 5):
        columns.append(_moved(said.kind, ids, step, -1))
        columns.append(_moved(said.cut_off, ids, step, 0))
    columns += [_moved(said.fillers_before, ids, step, 0) for step in (0, 1, 2)]
    columns += [_moved(said.capital, ids, step, 0) for step in (-1, 0, 1, 2, 3)]
    columns.append(_capital_before_copy(said, ids))
    columns += [_edge(said, step) for step in (1, -1)]
    columns += _copies(ids)
    columns += _likeness(said)
    columns += _counted(said, statistics)
    return np.stack([np.asarray(column, np.float32) for column in columns], axis=1)


def _ids(said: Said) -> Int64Array:
    """Two words have the same number where they and their stretch are the same."""
    numbers: dict[tuple[int, str], int] = {}
    keys = zip(said.stretch.tolist(), said.texts, strict=True)
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.int64)


def _moved(column: Int64Array, ids: Int64Array, step: int, missing: int) -> Int64Array:
    """The column's value `step` words on."""
    moved = np.full(len(column), missing, np.int64)
    if step >= 0:
        moved[: max(0, len(column) - step)] = column[step:]
    else:
        moved[-step:] = column[:step]
    return moved


def _edge(said: Said, step: int) -> Int64Array:
    """How many words remain in the stretch on that side, up to five."""
    left = np.zeros(len(said), np.int64)
    for far in range(1, 6):
        left += _moved(said.stretch, said.stretch, step * far, -1) == said.stretch
    return left


def _same(ids: Int64Array, step: int) -> npt.NDArray[np.bool_]:
    return np.equal(_moved(ids, ids, step, -1), ids)


def _copies(ids: Int64Array) -> list[npt.NDArray[np.generic]]:
    """Where words recur: how far on, how many in a row, and whether a word lies before such a copy."""
    n = len(ids)
    ahead = np.full(n, FARTHEST + 1)
    match = np.zeros(n, np.int64)
    back = np.full(n, FARTHEST + 1)
    back_match = np.zeros(n, np.int64)
    cover = np.full(n, FARTHEST + 1)
    to_go = np.full(n, -1)
    since = np.full(n, -1)
    cover_match = np.zeros(n, np.int64)
    found: list[npt.NDArray[np.generic]] = []
    # Farthest first, so that the nearest copy has the last word in every column.
    for far in range(FARTHEST, 0, -1):
        same = _same(ids, far)
        run = np.zeros(n, np.int64)
        # How long the match is: it lives on as long as the next words are equal, too.
        alive = same.copy()
        for along in range(LONGEST_MATCH):
            run += alive
            alive &= _moved(same.astype(np.int64), ids, along + 1, 0).astype(np.bool_)
        ahead[same], match[same] = far, run[same]
        before = np.flatnonzero(same)
        back[before + far], back_match[before + far] = far, run[before]
        for along in range(far):  # the words from one to its copy are what would be given up
            place = before[before + along < n] + along
            cover[place], to_go[place], since[place] = far, far - 1 - along, along
            cover_match[place] = run[place - along]
        if far <= 4:
            found.append(same)
    return [*found, ahead, match, back, back_match, cover, to_go, since, cover_match]


def _capital_before_copy(said: Said, ids: Int64Array) -> Int64Array:
    """Whether a sentence begins with the copy that is to come next, or between."""
    found = np.zeros(len(ids), np.int64)
    for far in range(FARTHEST, 0, -1):
        begun = np.zeros(len(ids), np.int64)
        for step in range(1, far + 1):
            begun += _moved(said.capital, ids, step, 0) > 0
        same = _same(ids, far)
        found[same] = begun[same]
    return found


def _likeness(said: Said) -> list[npt.NDArray[np.generic]]:
    """How many letters a word begins with in common with each of the next three; length."""
    n = len(said)
    columns = [np.zeros(n, np.int64) for _ in range(3)]
    texts, stretch = said.texts, said.stretch.tolist()
    for i, text in enumerate(texts):
        for far in range(1, 4):
            if i + far < n and stretch[i + far] == stretch[i]:
                columns[far - 1][i] = _common(text, texts[i + far])
    return [*columns, np.array([min(len(text), 12) for text in texts], np.int64)]


def _common(left: str, right: str) -> int:
    count = 0
    for a, b in zip(left, right, strict=False):
        if a != b:
            break
        count += 1
    return count


def _counted(said: Said, statistics: WordStatistics) -> list[npt.NDArray[np.generic]]:
    """Word and pair statistics of the word, its neighbours, and of the pair that skipping it would make."""
    texts, stretch = said.texts, said.stretch.tolist()
    n = len(texts)
    word = np.array([statistics.words.get(text, (0.0, 0.0, 0.0)) for text in texts]).reshape(-1, 3)
    prior_in, prior_end = 0.04, 0.03
    # Smoothed with a prior, so that a word seen once proves little.
    in_rate = (word[:, 1] + 10 * prior_in) / (word[:, 0] + 10)
    end_rate = (word[:, 2] + 10 * prior_end) / (word[:, 0] + 10)
    next_end = np.zeros(n)
    flow = np.zeros((n, 4))
    for i in range(n):
        after = texts[i + 1] if i + 1 < n and stretch[i + 1] == stretch[i] else "</s>"
        beyond = texts[i + 2] if i + 2 < n and stretch[i + 2] == stretch[i] else "</s>"
        before = texts[i - 1] if i and stretch[i - 1] == stretch[i] else "<s>"
        count, ended = statistics.pairs.get((texts[i], after), (0.0, 0.0))
        next_end[i] = (ended + 4 * prior_end) / (count + 4)
        flow[i] = (
            _likely(statistics, texts[i], after),
            _likely(statistics, before, texts[i]),
            _likely(statistics, before, after),
            _likely(statistics, after, beyond),
        )
    # How much better the sentence reads without the word.
    gain = flow[:, 2] - flow[:, 1]
    return [in_rate, end_rate, next_end, np.log1p(word[:, 0]), *flow.T, gain]


def _likely(statistics: WordStatistics, first: str, second: str) -> float:
    """log P(second | first), interpolated with the word's own frequency."""
    count = statistics.words.get(first, (0.0, 0.0, 0.0))[0]
    own = (statistics.words.get(second, (0.0, 0.0, 0.0))[0] + 0.5) / (statistics.total + 1)
    pair = statistics.pairs.get((first, second), (0.0, 0.0))[0]
    return float(np.log((pair + 2 * own) / (count + 2)))
