"""Facts of the conversation in a clip: how much talk and overlap, how long one talks alone, how fast."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from corpus.schemas.clock import US
from corpus.schemas.conversation import Turn, Word
from corpus.schemas.span import Span, union
from corpus.schemas.turn_taking import State, longest_monologue, speech_us, states

_LEAST_TALK_US = 1_000_000
"""With less talk, a number of words per second is chance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Talk:
    """Fields as in `schemas.quality.Quality`."""

    speech_share: float
    overlap_share: float
    monologue_us: int
    words_per_second: float | None
    word_confidence: float | None


class TalkIndex:
    """A recording's talk, which answers about any part without going through the rest."""

    def __init__(self, turns: Sequence[Turn], words: Sequence[Word]) -> None:
        spans: dict[str, list[Span]] = {}
        for turn in turns:
            spans.setdefault(turn.speaker, []).append(turn.span)
        self._chain = states({name: union(of_speaker) for name, of_speaker in spans.items()})
        self._stops = [state.span.stop_us for state in self._chain]
        self._starts = [state.span.start_us for state in self._chain]
        timed = [(word.start_us, word.confidence) for word in words if word.start_us is not None]
        self._words = sorted(timed, key=lambda word: word[0])
        self._word_starts = [start_us for start_us, _ in self._words]
        self._has_words = bool(words)

    def of(self, part: Span) -> Talk:
        """The facts of a part of the recording that is not empty."""
        chain = self.chain(part)
        somebody_us, several_us = speech_us(chain)
        talk_us = sum(len(state.talking) * state.span.duration_us for state in chain)
        alone = longest_monologue(chain)
        first = bisect_left(self._word_starts, part.start_us)
        begun = self._words[first : bisect_left(self._word_starts, part.stop_us)]
        sure = [confidence for _, confidence in begun if confidence is not None]
        known = self._has_words and talk_us >= _LEAST_TALK_US
        return Talk(
            speech_share=somebody_us / part.duration_us,
            overlap_share=several_us / part.duration_us,
            monologue_us=alone.stop_us - alone.start_us if alone else 0,
            words_per_second=len(begun) * US / talk_us if known else None,
            word_confidence=sum(sure) / len(sure) if sure else None,
        )

    def chain(self, part: Span) -> list[State]:
        """Who talks when within the part."""
        first = bisect_right(self._stops, part.start_us)
        last = bisect_left(self._starts, part.stop_us)
        return [
            State(state.talking, common)
            for state in self._chain[first:last]
            if (common := state.span & part) is not None
        ]
