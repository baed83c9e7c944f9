"""Finds talk without recognised words: a sequence model that believes it is finished skips the rest."""

from __future__ import annotations

from collections.abc import Sequence

from corpus.align.heard import Heard, words_drop
from corpus.align.invented import PROMPT_WORDS
from corpus.schemas.drops import Drop
from corpus.schemas.span import Span, subtract, union

LEAST_US = 1_500_000
"""A shorter stretch of talk without words is often a laugh or a breath, and is not retried."""
NEAR_US = 400_000
"""Talk this near to a word counts as covered by it."""
MARGIN_US = 300_000
BRIDGE_US = 3_000_000
"""Stretches closer than this are recognised together: the network processes 30 s in any case."""
LEAST_PROBABILITY = 0.5
"""The second try's mean probability must reach this: unclear speech that was skipped is mostly invented."""


def unheard(talk: Sequence[Span], words: Sequence[Span]) -> list[Span]:
    """The parts of the talk without words that are worth a second try."""
    heard = union(Span(max(0, word.start_us - NEAR_US), word.stop_us + NEAR_US) for word in words)
    return [span for span in subtract(union(talk), heard) if span.duration_us >= LEAST_US]


def together(missing: Sequence[Span], within: Span) -> list[Span]:
    """The sound to recognise again."""
    wide = [
        Span(max(within.start_us, span.start_us - MARGIN_US), min(within.stop_us, span.stop_us + MARGIN_US))
        for span in union(missing, bridge_us=BRIDGE_US)
    ]
    return union(wide)


def newly_heard(
    words: Sequence[Heard], missing: Sequence[Span], left_out: Sequence[Drop] = ()
) -> tuple[list[Heard], list[Drop]]:
    """The words that a second try adds inside the missing stretches if they are sure, else a Drop.

    They count as unsure if the second try also wrote down its prompt (in `left_out`): then it heard little.
    """
    new = [
        word
        for word in words
        if any((word.span.start_us + word.span.stop_us) // 2 in span for span in missing)
    ]
    echoed = any(drop.code == PROMPT_WORDS for drop in left_out)
    sure = not echoed and sum(word.probability for word in new) >= LEAST_PROBABILITY * len(new)
    if not new or sure:
        return new, []
    return [], [words_drop("unsure_words", "was found at the second try, and unsurely", new)]
