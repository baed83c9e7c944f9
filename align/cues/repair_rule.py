"""The plain rule for self-corrections: words repeated at once, and words broken off. No weights.

It is the learned tagger's baseline, and is used if the tagger is switched off.
"""

from __future__ import annotations

import numpy as np

from corpus.align.cues.repair_words import Said
from corpus.schemas.arrays import BoolArray

LONGEST_COPY = 6
_EMPHATIC = frozenset(("yeah", "no", "okay", "yes", "very", "really", "right", "mm-hmm", "bye", "oh", "ha"))
"""Said twice, these are mostly emphasis or an answer."""


def copied(said: Said, last: int) -> int:
    """How many words, ending with this one, are repeated right after; 0 for none."""
    for length in range(1, LONGEST_COPY + 1):
        first, stop = last - length + 1, last + 1 + length
        if first < 0 or last + 1 >= len(said) or said.stretch[first] != said.stretch[last + 1]:
            return 0
        if stop <= len(said) and said.texts[first : last + 1] == said.texts[last + 1 : stop]:
            return length if said.stretch[first] == said.stretch[stop - 1] else 0
    return 0


def by_rule(said: Said) -> tuple[BoolArray, BoolArray]:
    """For each word whether a reparandum ends with it, and whether it is in one."""
    ends, inside = np.zeros(len(said), np.bool_), np.zeros(len(said), np.bool_)
    for i in range(len(said) - 1):
        length = copied(said, i)
        if length and not _EMPHATIC.issuperset(said.texts[i - length + 1 : i + 1]):
            ends[i], inside[i - length + 1 : i + 1] = True, True
        elif said.cut_off[i] and said.stretch[i + 1] == said.stretch[i]:
            ends[i] = inside[i] = said.texts[i + 1].startswith(said.texts[i])
    return ends, inside
