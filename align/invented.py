"""Words that a recogniser hallucinated; each run of them becomes a Drop.

Given silence, noise or a short rest of sound, a sequence model keeps writing: it repeats itself, puts words
at its window's end, copies its prompt or adds a remark in brackets. Which of these happens depends on the
last bit of a sum, and so on the processor; that it is caught must not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from corpus.align.heard import Heard, plain, runs, words_drop
from corpus.align.repeats import without_loops
from corpus.schemas.drops import Drop

SHORTEST_WORD_US = 20_000
"""The recogniser's own time step: it found no place in the sound for words this short."""
WINDOW_END_US = 30_000
"""A word that begins this close to its window's end has no sound."""
PROMPT_WORDS = "prompt_words"
"""The code of what was left out because it is the prompt."""
PROMPT_RUN = 3
"""So many words of the prompt in a row, in its order, are the prompt."""
PROMPT_END_US = 1_000_000
"""Words of the prompt, two or more in a row up to the window's end, whose last begins in this last part."""
FASTEST_WORDS_A_SECOND = 12.0
"""Nobody speaks eight words at this rate; the fastest minute of the developer meetings has 5."""
FAST_RUN = 8

_OPENING, _CLOSING = "([{<*♪", ")]}>*♪"

Judge = Callable[[Sequence[Heard]], list[bool]]


def without_invented(words: Sequence[Heard], prompt: str) -> tuple[list[Heard], list[Drop]]:
    """The words that may have been said, in order, and Drops for all others."""
    kept = list(words)
    drops: list[Drop] = []
    prompt_words = [plain(word) for word in prompt.split()]
    steps: tuple[tuple[str, str, Judge], ...] = (
        ("bracketed_words", "is a remark and no speech", _bracketed),
        ("words_without_length", "has no length in the sound", _without_length),
        ("words_at_window_end", "stands where the recogniser's window ends, without sound", _at_window_end),
        (
            PROMPT_WORDS,
            "is what the recogniser was told, written down",
            lambda w: _of_prompt(w, prompt_words),
        ),
        ("words_too_fast", f"is more than {FASTEST_WORDS_A_SECOND:g} words a second", _too_fast),
    )
    # In this order: each judge sees only what the ones before have kept.
    for code, reason, judge in steps:
        out = judge(kept)
        drops += [words_drop(code, reason, run) for run in runs(kept, out)]
        kept = [word for word, gone in zip(kept, out, strict=True) if not gone]
    kept, loops = without_loops(kept, lambda word: word.written, lambda word: word.span)
    drops += [words_drop("repeated_words", "repeats itself as no speaker does", loop) for loop in loops]
    return kept, drops


def _bracketed(words: Sequence[Heard]) -> list[bool]:
    """Words in brackets, over several words too, and those without a letter or digit."""
    out: list[bool] = []
    closes_at = _closing_places(words)
    until = -1
    for place, word in enumerate(words):
        if word.written[0] in _OPENING and place > until:
            until = closes_at.get(place, -1)
        out.append(place <= until or not plain(word.written))
    return out


def _closing_places(words: Sequence[Heard]) -> dict[int, int]:
    """For each word that opens a bracket, the word in the same window that closes it, if any."""
    closes_at: dict[int, int] = {}
    for place, word in enumerate(words):
        if word.written[0] not in _OPENING:
            continue
        closing = _CLOSING[_OPENING.index(word.written[0])]
        for later in range(place, len(words)):
            if words[later].window != word.window:
                break
            if closing in words[later].written[(1 if later == place else 0) :]:
                closes_at[place] = later
                break
    return closes_at


def _without_length(words: Sequence[Heard]) -> list[bool]:
    """Words without length but for lone ones, with a word of some length on either side in their window.

    A short word of a sentence may get no time of its own; what is invented comes in runs or at an edge.
    """
    short = [word.span.duration_us <= SHORTEST_WORD_US for word in words]
    out = list(short)
    for place in range(1, len(words) - 1):
        before, word, after = words[place - 1 : place + 2]
        inside = before.window == word.window == after.window
        out[place] = short[place] and not (inside and not short[place - 1] and not short[place + 1])
    return out


def _at_window_end(words: Sequence[Heard]) -> list[bool]:
    return [
        word.window is not None and word.span.start_us >= word.window.stop_us - WINDOW_END_US
        for word in words
    ]


def _of_prompt(words: Sequence[Heard], prompt: Sequence[str]) -> list[bool]:
    """Words of the prompt in the prompt's order, or as the last words of a window."""
    out = [False] * len(words)
    said = [plain(word.written) for word in words]
    for first in range(len(words) - PROMPT_RUN + 1):
        run = said[first : first + PROMPT_RUN]
        if any(run == list(prompt[at : at + PROMPT_RUN]) for at in range(len(prompt) - PROMPT_RUN + 1)):
            out[first : first + PROMPT_RUN] = [True] * PROMPT_RUN
    for last, word in enumerate(words):
        if word.window is None or (last + 1 < len(words) and words[last + 1].window == word.window):
            continue
        first = last
        while first >= 0 and words[first].window == word.window and said[first] in prompt:
            first -= 1
        if last - first >= 2 and word.span.start_us >= word.window.stop_us - PROMPT_END_US:
            out[first + 1 : last + 1] = [True] * (last - first)
    return out


def _too_fast(words: Sequence[Heard]) -> list[bool]:
    """Runs of at least `FAST_RUN` words of one window, faster than anybody speaks."""
    out = [False] * len(words)
    for first in range(len(words) - FAST_RUN + 1):
        last = first + FAST_RUN - 1
        length_us = words[last].span.stop_us - words[first].span.start_us
        same = words[first].window == words[last].window
        if same and length_us * FASTEST_WORDS_A_SECOND < FAST_RUN * 1e6:
            out[first : last + 1] = [True] * FAST_RUN
    return out
