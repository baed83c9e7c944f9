"""Attributing words to speakers: by matching the words' names with the turns', or by the turn at the word."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from corpus.align.parsing import drop_at
from corpus.schemas.conversation import Turn, Word
from corpus.schemas.drops import Drop
from corpus.schemas.span import Span, intersect, union

NEAREST_TURN_US = 500_000
"""A word outside all turns is given to a turn at most this far away."""
WORDS_BRIDGE_US = 200_000
"""One speaker's words with gaps up to this are one turn, if no file has turns."""


@dataclass(frozen=True, slots=True)
class TurnIndex:
    """Turns indexed by time; a query costs O(log n) plus the number of nearby turns."""

    turns: tuple[Turn, ...]
    starts: tuple[int, ...]
    reach: tuple[int, ...]
    """For each turn the latest stop up to it: ascending, so that it can be searched."""

    @classmethod
    def of(cls, turns: Sequence[Turn]) -> TurnIndex:
        ordered = tuple(sorted(turns, key=lambda turn: (turn.start_us, turn.stop_us, turn.speaker)))
        reach: list[int] = []
        for turn in ordered:
            reach.append(max(turn.stop_us, reach[-1] if reach else turn.stop_us))
        return cls(ordered, tuple(turn.start_us for turn in ordered), tuple(reach))

    def speaker(
        self, span: Span, *, margin_us: int = NEAREST_TURN_US, prefer: str | None = None
    ) -> str | None:
        """Who talks for most of the span; if nobody does, who talks nearest to it within the margin.

        If several talk throughout, `prefer` if it is one of them.
        """
        shared: Counter[str] = Counter()
        near: list[tuple[int, int, str]] = []
        middle_us = (span.start_us + span.stop_us) // 2
        for turn in self._around(span, margin_us):
            common = turn.span & span
            if common:
                shared[turn.speaker] += common.duration_us
            # A word without duration shares no time with any turn, but lies in one.
            elif not span and middle_us in turn.span:
                shared[turn.speaker] += 1
            gap_us = max(turn.start_us - span.stop_us, span.start_us - turn.stop_us, 0)
            near.append((gap_us, abs((turn.start_us + turn.stop_us) // 2 - middle_us), turn.speaker))
        if shared:
            return min(shared, key=lambda name: (-shared[name], name != prefer, name))
        close = [item for item in near if item[0] <= margin_us]
        return min(close)[2] if close else None

    def costs(self, span: Span, *, margin_us: int = NEAREST_TURN_US) -> dict[str, float]:
        """For each speaker within the margin: 0 if their turns cover the span, 1 if they only touch it, up
        to 2 at the margin."""
        span = span or Span(span.start_us, span.start_us + 1)
        covered: Counter[str] = Counter()
        gaps: dict[str, int] = {}
        for turn in self._around(span, margin_us):
            gap_us = max(turn.start_us - span.stop_us, span.start_us - turn.stop_us, 0)
            if gap_us <= margin_us:
                gaps[turn.speaker] = min(gap_us, gaps.get(turn.speaker, gap_us))
                common = turn.span & span
                covered[turn.speaker] += common.duration_us if common else 0
        return {
            name: 1 - min(1.0, covered[name] / span.duration_us) + gap_us / margin_us
            for name, gap_us in gaps.items()
        }

    def _around(self, span: Span, margin_us: int) -> Sequence[Turn]:
        first = bisect_left(self.reach, span.start_us - margin_us)
        return self.turns[first : bisect_right(self.starts, span.stop_us + margin_us)]


def attribute_words(words: Sequence[Word], turns: Sequence[Turn]) -> tuple[tuple[Word, ...], list[Drop]]:
    """Give every word a speaker who has turns.

    Words that name such a speaker are kept. Names without turns are matched one to one with those of the
    turns by shared talking time. The remaining words are given to the turn at their time, or become Drops.
    """
    names = {turn.speaker for turn in turns}
    strangers = sorted({word.speaker for word in words} - names - {""})
    renamed = _match_speakers(strangers, words, turns) if strangers and names else {}
    drops = [_renamed_drop(renamed)] if renamed else []
    index = TurnIndex.of(turns)
    kept: list[Word] = []
    for number, word in enumerate(words):
        speaker = renamed.get(word.speaker, word.speaker)
        if speaker not in names:
            nearest = index.speaker(word.span) if word.span is not None else None
            if nearest is None:
                drops.append(_nobodys(word, number))
                continue
            speaker = nearest
        kept.append(word if speaker == word.speaker else replace(word, speaker=speaker))
    return tuple(kept), drops


def _by_speaker(items: Sequence[Turn] | Sequence[Word]) -> dict[str, list[Span]]:
    spans_of: dict[str, list[Span]] = {}
    for item in items:
        if item.span is not None:
            spans_of.setdefault(item.speaker, []).append(item.span)
    return spans_of


def _match_speakers(strangers: Sequence[str], words: Sequence[Word], turns: Sequence[Turn]) -> dict[str, str]:
    """Match each unknown name with one of the turns' speakers: most shared talking time first, one to one."""
    talk = {name: union(spans) for name, spans in _by_speaker(turns).items()}
    heard = {name: union(spans) for name, spans in _by_speaker(words).items()}
    taken = {word.speaker for word in words} & set(talk)
    pairs: list[tuple[int, str, str]] = []
    for stranger in strangers:
        said = heard.get(stranger, [])
        for name in sorted(set(talk) - taken):
            shared = sum(span.duration_us for span in intersect(said, talk[name]))
            if shared:
                pairs.append((-shared, stranger, name))
    matched: dict[str, str] = {}
    given: set[str] = set()
    for _, stranger, name in sorted(pairs):
        if stranger not in matched and name not in given:
            matched[stranger] = name
            given.add(name)
    return matched


def _renamed_drop(renamed: dict[str, str]) -> Drop:
    pairs = ", ".join(f"{old} is {new}" for old, new in sorted(renamed.items()))
    reason = f"the words and the turns name the speakers differently; by talking time {pairs}"
    return drop_at("words", "speakers_renamed", reason, "trim")


def _nobodys(word: Word, number: int) -> Drop:
    where = "has no times" if word.span is None else "lies in nobody's turn"
    reason = f"{word.text!r} is without a speaker and {where}"
    return drop_at(f"words:{number}", "word_without_speaker", reason, "trim", word.span)


def turns_of_words(words: Sequence[Word], bridge_us: int) -> tuple[Turn, ...]:
    """Each speaker's words joined into turns; gaps up to `bridge_us` are closed."""
    turns: list[Turn] = []
    for name, spans in _by_speaker(words).items():
        if name:
            joined = union(spans, bridge_us=bridge_us)
            turns += [Turn(speaker=name, start_us=s.start_us, stop_us=s.stop_us) for s in joined]
    return tuple(sorted(turns, key=lambda turn: (turn.start_us, turn.stop_us, turn.speaker)))
