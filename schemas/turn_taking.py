"""Who talks when, in the forms the labelers need. Definitions: docs/cues.md."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from corpus.schemas.conversation import Conversation, Cue, Word
from corpus.schemas.span import Span, union


@dataclass(frozen=True, slots=True)
class Unit:
    """An inter-pausal unit: one speaker's speech without a silence longer than the bridge."""

    speaker: str
    span: Span


@dataclass(frozen=True, slots=True)
class State:
    """A maximal stretch in which the same set of speakers talks; empty for a silence."""

    talking: frozenset[str]
    span: Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Monologue:
    """One speaker talking, with pauses of any length, while nobody else does."""

    speaker: str
    start_us: int
    stop_us: int


def speech_by_speaker(conversation: Conversation, *, bridge_us: int = 0) -> dict[str, list[Span]]:
    """Each speaker's speech as ordered disjoint spans, by name; gaps up to the bridge are closed."""
    spans: dict[str, list[Span]] = {name: [] for name in sorted(conversation.speakers)}
    for turn in conversation.turns:
        spans[turn.speaker].append(turn.span)
    return {name: union(of_speaker, bridge_us=bridge_us) for name, of_speaker in spans.items() if of_speaker}


def states(spans: Mapping[str, Sequence[Span]]) -> list[State]:
    """The conversation as a chain of states, from the first speech to the last, without holes."""
    edges = sorted(
        (time_us, step, name)
        for name, of_speaker in spans.items()
        for span in of_speaker
        for time_us, step in ((span.start_us, 1), (span.stop_us, -1))
    )
    chain: list[State] = []
    talking: frozenset[str] = frozenset()
    since_us = edges[0][0] if edges else 0
    for time_us, step, name in edges:
        if time_us > since_us:
            chain.append(State(talking, Span(since_us, time_us)))
            since_us = time_us
        talking = talking | {name} if step > 0 else talking - {name}
    return chain


def speech_us(chain: Iterable[State]) -> tuple[int, int]:
    """Time in which anybody talks, and in which two or more do."""
    somebody = several = 0
    for state in chain:
        somebody += state.span.duration_us if state.talking else 0
        several += state.span.duration_us if len(state.talking) > 1 else 0
    return somebody, several


def longest_monologue(chain: Iterable[State]) -> Monologue | None:
    """The longest stretch in which only one speaker is heard, the first of equals; None in silence."""
    return max(_monologues(chain), key=lambda m: m.stop_us - m.start_us, default=None)


def _monologues(chain: Iterable[State]) -> Iterator[Monologue]:
    now: Monologue | None = None
    for state in chain:
        if not state.talking:
            continue
        alone = next(iter(state.talking)) if len(state.talking) == 1 else None
        if now is not None and now.speaker == alone:
            now = Monologue(speaker=alone, start_us=now.start_us, stop_us=state.span.stop_us)
            continue
        if now is not None:
            yield now
        start_us, stop_us = state.span.start_us, state.span.stop_us
        now = Monologue(speaker=alone, start_us=start_us, stop_us=stop_us) if alone is not None else None
    if now is not None:
        yield now


class SpeechIndex:
    """One speaker's units, for looking up those around a time."""

    def __init__(self, spans: Sequence[Span]) -> None:
        self.spans = spans
        self._starts = [span.start_us for span in spans]
        self._stops = [span.stop_us for span in spans]

    def overlapping(self, span: Span) -> Sequence[Span]:
        """The units that share time with the span."""
        first = bisect_right(self._stops, span.start_us)
        return self.spans[first : bisect_left(self._starts, span.stop_us)]

    def at(self, time_us: int) -> Span | None:
        """The unit that covers the time."""
        place = bisect_right(self._starts, time_us) - 1
        return self.spans[place] if place >= 0 and time_us in self.spans[place] else None


class WordsOf:
    """One speaker's timed words, for looking up those in a span."""

    def __init__(self, words: Sequence[Word]) -> None:
        timed = [(word.start_us, word.stop_us, word.text) for word in words if word.start_us is not None]
        self._timed = sorted((start, stop, text) for start, stop, text in timed if stop is not None)
        self._starts = [start for start, _, _ in self._timed]

    def inside(self, span: Span) -> list[str]:
        """The texts of the words that begin in the span, in order."""
        first, stop = bisect_left(self._starts, span.start_us), bisect_left(self._starts, span.stop_us)
        return [text for _, _, text in self._timed[first:stop]]


def words_by_speaker(conversation: Conversation) -> dict[str, WordsOf]:
    spoken: dict[str, list[Word]] = {name: [] for name in conversation.speakers}
    for word in conversation.words:
        spoken[word.speaker].append(word)
    return {name: WordsOf(words) for name, words in spoken.items()}


def timed_words(conversation: Conversation) -> dict[str, list[Word]]:
    """Each speaker's words whose times are known, in order of time."""
    timed: dict[str, list[Word]] = {name: [] for name in conversation.speakers}
    for word in conversation.words:
        if word.start_us is not None:
            timed[word.speaker].append(word)
    for words in timed.values():
        words.sort(key=lambda word: (word.start_us or 0, word.stop_us or 0, word.text))
    return timed


@lru_cache(maxsize=1 << 14)
def normal(text: str) -> str:
    """A word in the form used by word lists: lower case, only letters, apostrophes and inner hyphens."""
    kept = "".join(c for c in text.lower().replace("’", "'") if c.isalnum() or c in "'-")
    return kept.strip("'-")


def in_order(cues: Sequence[Cue]) -> list[Cue]:
    """The cues in an order that depends only on their content."""
    return sorted(
        cues,
        key=lambda cue: (cue.start_us, cue.stop_us, cue.speaker or "", cue.label, cue.kind, cue.evidence),
    )
