"""Attribute words to speakers by the cheapest path through the speakers over a whole stretch.

A word costs more the less of it a speaker's turns cover. A change of speaker is free after the end of a
sentence or a pause; inside a sentence it costs as much as a whole uncovered word. So an edge of a turn that
is off by a word does not split a sentence between two people.

    turns   A ──────────────╴            A's turn ends too early to cover "know"
            B                ╶────────
    words     I  don't   know.  Yeah.
    said      A    A      A      B
"""

from __future__ import annotations

from collections.abc import Sequence

from corpus.align.attribute import NEAREST_TURN_US, TurnIndex
from corpus.align.heard import Heard, runs, words_drop
from corpus.align.parsing import split_punctuation
from corpus.schemas.conversation import Word
from corpus.schemas.drops import Drop

CHANGE = 1.0
"""Cost of changing the speaker inside a sentence; an uncovered word costs 1."""
PAUSE_US = 500_000
SENTENCE_ENDS = (".", "?", "!", "…", "。", "？", "！")


def attributed(words: Sequence[Heard], index: TurnIndex) -> tuple[list[Word], list[Drop]]:
    """The words with their speakers; words far from every turn are Drops, one for each run."""
    speakers = said_by(words, index)
    kept = [_word(word, name) for word, name in zip(words, speakers, strict=True) if name is not None]
    reason = f"was recognised more than {NEAREST_TURN_US / 1e6:.1f} s from every turn"
    nobodys = runs(words, [name is None for name in speakers])
    return kept, [words_drop("words_outside_turns", reason, run) for run in nobodys]


def said_by(words: Sequence[Heard], index: TurnIndex) -> list[str | None]:
    """Each word's speaker; None far from every turn."""
    costs = [index.costs(word.span) for word in words]
    known = [place for place, cost in enumerate(costs) if cost]
    best: dict[str, float] = {}
    came_from: list[dict[str, str]] = []
    # Viterbi: for each word and speaker, the cheapest way to get there and its previous speaker.
    for number, place in enumerate(known):
        change = _change(words[known[number - 1]], words[place]) if number else 0.0
        reached: dict[str, float] = {}
        steps: dict[str, str] = {}
        for name, cost in sorted(costs[place].items()):
            before = min(sorted(best), key=lambda other: best[other] + change * (other != name), default=name)
            steps[name] = before
            reached[name] = cost + (best[before] + change * (before != name) if best else 0.0)
        best = reached
        came_from.append(steps)
    speakers: list[str | None] = [None] * len(words)
    # Back from the cheapest end; `sorted` decides ties the same way everywhere.
    name = min(sorted(best), key=lambda other: best[other], default="")
    for place, steps in zip(reversed(known), reversed(came_from), strict=True):
        speakers[place] = name
        name = steps[name]
    return speakers


def _change(before: Heard, after: Heard) -> float:
    ended = before.written.rstrip("\"'”’»)").endswith(SENTENCE_ENDS)
    return 0.0 if ended or after.span.start_us - before.span.stop_us >= PAUSE_US else CHANGE


def _word(word: Heard, speaker: str) -> Word:
    text, after = split_punctuation(word.written)
    return Word(
        speaker=speaker,
        start_us=word.span.start_us,
        stop_us=word.span.stop_us,
        text=text,
        after=after,
        timing="aligned" if word.aligned else "recognised",
        confidence=round(min(max(word.probability, 0.0), 1.0), 4),
    )
