"""Features of the linear models for short runs and for questions: the names of those that are true."""

from __future__ import annotations

import itertools
from bisect import bisect_right

from corpus.align.cues.units import Said

_BINS_US = (1, 100_000, 200_000, 400_000, 700_000, 1_000_000, 2_000_000, 4_000_000, 10_000_000)


def _bin(value_us: int) -> int:
    return bisect_right(_BINS_US, value_us)


def run_features(unit: Said, first: int, stop: int) -> list[str]:
    """Features of the run `[first, stop)` of a unit's words."""
    texts, n = unit.texts, len(unit.texts)
    said = " ".join(texts[first:stop])
    whole, head, tail = stop - first == n, first == 0, stop == n
    where = "whole" if whole else "head" if head else "tail" if tail else "middle"
    starts, stops = unit.words[first].start_us or 0, unit.words[stop - 1].stop_us or 0
    gap_before = starts - (unit.words[first - 1].stop_us or 0) if first else unit.before_us
    gap_after = (unit.words[stop].start_us or 0) - stops if not tail else unit.after_us
    following = texts[stop] if not tail else "</u>"
    others = "during" if unit.others_at_start else "near" if unit.others_ago_us < 1_000_000 else "far"
    mean_bin = min(4, (stop - first))
    return [
        f"said={said}",
        f"said={said}|{where}",
        f"said={said}|{others}|{where}",
        f"first={texts[first]}|{where}",
        f"last={texts[stop - 1]}|{where}",
        f"{where}|n={mean_bin}",
        f"{where}|{others}|end={unit.others_at_stop}",
        f"before={_bin(gap_before)}|{where}",
        f"after={_bin(gap_after)}|{where}",
        f"said={said}|after={_bin(gap_after)}",
        f"long={_bin(stops - starts)}",
        f"unit={min(n, 8)}|{where}",
        f"next={following}",
        f"next={following}|first={texts[first]}",
        f"others_ago={_bin(unit.others_ago_us)}|{where}",
        f"others_next={_bin(unit.others_next_us)}|{where}",
        f"others_next={_bin(unit.others_next_us)}|after={_bin(gap_after)}|{where}",
    ]


def question_features(unit: Said) -> list[str]:
    """Features of a whole unit, without question marks."""
    texts = [text for text in unit.texts if text not in ("uh", "um", "mm", "er")] or ["</u>"]
    pairs = [f"{a} {b}" for a, b in itertools.pairwise(texts)]
    triples = [f"{a} {b} {c}" for a, b, c in zip(texts, texts[1:], texts[2:], strict=False)]
    size = min(len(texts), 10)
    return [
        *{f"has={text}" for text in texts},
        *{f"has={pair}" for pair in (*pairs, *triples)},
        *(f"first={' '.join(texts[:n])}" for n in (1, 2, 3)),
        *(f"last={' '.join(texts[-n:])}" for n in (1, 2, 3)),
        f"begins={texts[0]}|n={size}",
        f"n={size}",
        f"after={_bin(unit.after_us)}",
        f"others_next={_bin(unit.others_next_us)}",
        f"after={_bin(unit.after_us)}|others_next={_bin(unit.others_next_us)}",
        f"before={_bin(unit.before_us)}",
    ]
