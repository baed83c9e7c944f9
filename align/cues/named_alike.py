"""Renaming detected speakers as people named them: a diarizer's S0 may be A in the marks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from corpus.align.cues.score import Marked
from corpus.schemas.conversation import Turn
from corpus.schemas.span import Span, intersect


def names_alike(mine: Sequence[Turn], gold: Sequence[Turn]) -> dict[str, str]:
    """The one-to-one mapping of speakers by how much their speech coincides, as for a diarization error rate.

    Empty if the two share a name: then names are used as they are.
    """
    from scipy.optimize import linear_sum_assignment

    ours, theirs = (list(dict.fromkeys(turn.speaker for turn in turns)) for turns in (mine, gold))
    if not ours or not theirs or set(ours) & set(theirs):
        return {}
    common_us = np.zeros((len(ours), len(theirs)))
    for row, name in enumerate(ours):
        for column, other in enumerate(theirs):
            common_us[row, column] = _common_us(_of(mine, name), _of(gold, other))
    pairs = zip(*linear_sum_assignment(-common_us), strict=True)
    return {ours[row]: theirs[column] for row, column in pairs if common_us[row, column] > 0}


def named_alike(mine: Marked, names: dict[str, str]) -> Marked:
    """The same marks under the other names; a speaker without one keeps their own and matches nobody."""
    if not names:
        return mine

    def other(name: str | None) -> str | None:
        return None if name is None else names.get(name, f"unmatched {name}")

    return replace(
        mine,
        cues=tuple(replace(cue, speaker=other(cue.speaker), partner=other(cue.partner)) for cue in mine.cues),
        words=tuple(replace(word, speaker=other(word.speaker) or "") for word in mine.words),
        turns=tuple(replace(turn, speaker=other(turn.speaker) or "") for turn in mine.turns),
    )


def _of(turns: Sequence[Turn], speaker: str) -> list[Span]:
    return [Span(turn.start_us, turn.stop_us) for turn in turns if turn.speaker == speaker]


def _common_us(left: Sequence[Span], right: Sequence[Span]) -> int:
    return sum(span.duration_us for span in intersect(left, right))
