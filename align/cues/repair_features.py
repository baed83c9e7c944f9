"""The self-correction tagger's features of each word: copies, classes, cut-offs and word statistics.

Without times: a tagger trained on them learns one corpus's alignment and fails on other conversations.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from corpus.align.cues.repair_flow import PRIOR_END, Grammar, fine_classes, flow_columns
from corpus.align.cues.repair_words import Said
from corpus.align.cues.word_statistics import NOBODY, WordStatistics
from corpus.schemas.arrays import Float32Array, Int64Array

_FARTHEST = 8
"""A copy further on than this is not a repair."""
_LONGEST_MATCH = 5
_PRIOR_IN = 0.04
"""Share of all words that lie in a reparandum; that of last ones is `PRIOR_END`."""


@dataclass(frozen=True, slots=True)
class Statistics:
    """Counts from the conversations that the tagger was trained on."""

    words: WordStatistics
    grammar: Grammar


def features(said: Said, statistics: Statistics) -> Float32Array:
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
    columns += _counted(said, ids, statistics.words)
    columns += [_moved(said.mark, ids, step, -2) for step in range(-2, 4)]
    columns += _in_sentence(said)
    columns += _said_again(ids, said.stretch)
    kinds = fine_classes(said)
    columns += [_moved(kinds, ids, step, -1) for step in range(-2, 4)]
    columns += flow_columns(said, statistics.grammar)
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
    ahead = np.full(n, _FARTHEST + 1)
    match = np.zeros(n, np.int64)
    back = np.full(n, _FARTHEST + 1)
    back_match = np.zeros(n, np.int64)
    cover = np.full(n, _FARTHEST + 1)
    to_go = np.full(n, -1)
    since = np.full(n, -1)
    cover_match = np.zeros(n, np.int64)
    copies: list[npt.NDArray[np.generic]] = []
    # Farthest first, so that the nearest copy has the last word in every column.
    for far in range(_FARTHEST, 0, -1):
        same = _same(ids, far)
        run = np.zeros(n, np.int64)
        # How long the match is: it lives on as long as the next words are equal, too.
        alive = same.copy()
        for along in range(_LONGEST_MATCH):
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
            copies.append(same)
    return [*copies, ahead, match, back, back_match, cover, to_go, since, cover_match]


def _capital_before_copy(said: Said, ids: Int64Array) -> Int64Array:
    """Whether a sentence begins with the copy that is to come next, or between."""
    capitals = np.zeros(len(ids), np.int64)
    for far in range(_FARTHEST, 0, -1):
        begun = np.zeros(len(ids), np.int64)
        for step in range(1, far + 1):
            begun += _moved(said.capital, ids, step, 0) > 0
        same = _same(ids, far)
        capitals[same] = begun[same]
    return capitals


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


def _in_sentence(said: Said) -> list[npt.NDArray[np.generic]]:
    """Words since the sentence or stretch began, and until it ends, up to twelve."""
    n = len(said)
    new = np.ones(n, np.bool_)
    new[1:] = (said.stretch[1:] != said.stretch[:-1]) | (said.mark[:-1] >= 2)
    places = np.arange(n)
    since = places - np.maximum.accumulate(np.where(new, places, 0))
    last = np.append(new[1:], True)
    ends = np.where(last, places, n)
    until = np.minimum.accumulate(ends[::-1])[::-1] - places
    return [np.minimum(since, 12), np.minimum(until, 12)]


def _said_again(ids: Int64Array, stretch: Int64Array) -> list[npt.NDArray[np.generic]]:
    """Which share of the last two, three and five words comes again in as many and one more."""
    columns: list[npt.NDArray[np.generic]] = []
    for size in (2, 3, 5):
        again, asked = np.zeros(len(ids)), np.zeros(len(ids))
        for back in range(size):
            word = _moved(ids, ids, -back, -1)
            here = _moved(stretch, ids, -back, -1) == stretch
            comes = np.zeros(len(ids), np.bool_)
            for ahead in range(1, size + 2):
                comes |= _moved(ids, ids, ahead, -2) == word
            again += here & comes
            asked += here
        columns.append(again / asked)
    return columns


def _counted(said: Said, ids: Int64Array, counts: WordStatistics) -> list[npt.NDArray[np.generic]]:
    """Word and pair statistics: of the word, its neighbours, and the pairs that skipping words makes."""
    rows = counts.ids(said.texts)

    def at(step: int) -> Int64Array:
        here = _moved(said.stretch, ids, step, -1) == said.stretch
        return np.where(here, _moved(rows, ids, step, NOBODY), NOBODY)

    word, before, after = counts.words[rows], at(-1), at(1)
    behind, following = counts.words[after], counts.of_pairs(rows, after)
    leading, own = counts.of_pairs(before, rows), counts.log_likely(rows, after)
    return [
        (word[:, 1] + 10 * _PRIOR_IN) / (word[:, 0] + 10),
        (word[:, 2] + 10 * PRIOR_END) / (word[:, 0] + 10),
        np.log1p(word[:, 0]),
        (following[:, 1] + 4 * PRIOR_END) / (following[:, 0] + 4),
        (following[:, 2] + 4 * _PRIOR_IN) / (following[:, 0] + 4),
        (behind[:, 3] + 5 * PRIOR_END) / (behind[:, 0] + 5),
        (leading[:, 3] + 4 * PRIOR_END) / (leading[:, 0] + 4),
        own,
        counts.log_likely(after, at(2)),
        *(counts.log_likely(at(-far), after) - own for far in range(1, 6)),
    ]
