"""Units of speech with their words, and runs of short words that answer, encourage or gain time."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

from corpus.align.cues.filled_pause import FILLERS, HUMS
from corpus.schemas.conversation import Conversation, Word
from corpus.schemas.span import Span
from corpus.schemas.turn_taking import SpeechIndex, normal, speech_by_speaker, timed_words

_SHORT_WORDS = (
    FILLERS
    | HUMS
    | frozenset(
        (
            *("yeah", "yep", "yes", "yup", "no", "okay", "ok", "kay", "right", "alright", "sure", "oh", "ah"),
            *(
                "mm-hmm",
                "mhm",
                "uh-huh",
                "mm-mm",
                "mm-hm",
                "huh",
                "well",
                "so",
                "and",
                "but",
                "anyway",
                "now",
            ),
            *(
                "cool",
                "good",
                "great",
                "exactly",
                "true",
                "nice",
                "fine",
                "really",
                "wow",
                "aha",
                "hey",
                "like",
            ),
            *("then", "actually", "basically", "absolutely", "definitely", "indeed"),
        )
    )
)
_PHRASES = (("you", "know"), ("i", "mean"), ("let's", "see"), ("let", "me", "see"), ("i", "see"))
_FAR_US = 60_000_000


@dataclass(frozen=True, slots=True)
class Said:
    """A unit: one speaker's words without a silence longer than the bridge between their turns."""

    speaker: str
    span: Span
    words: tuple[Word, ...]
    texts: tuple[str, ...]
    before_us: int
    """The speaker's own silence before it, at most a minute; at the recording's start counted from there."""
    after_us: int
    others_at_start: bool
    others_at_stop: bool
    others_ago_us: int
    """Time since somebody else last talked, at most a minute; 0 while somebody does."""
    others_next_us: int
    """Time until somebody else begins to talk."""


def units_said(conversation: Conversation, bridge_us: int) -> list[Said]:
    """The units that hold timed words, by speaker and time."""
    spans = speech_by_speaker(conversation, bridge_us=bridge_us)
    talks = {name: SpeechIndex(talk) for name, talk in spans.items()}
    words = timed_words(conversation)
    units: list[Said] = []
    for name, talk in spans.items():
        others = [other for who, other in talks.items() if who != name]
        units += _of_speaker(name, talk, words[name], others, conversation.duration_us)
    return units


def _of_speaker(
    name: str, spans: list[Span], words: list[Word], others: list[SpeechIndex], duration_us: int
) -> Iterator[Said]:
    # Spans and words both rise, so each word is met once.
    at = 0
    for place, span in enumerate(spans):
        while at < len(words) and (words[at].start_us or 0) < span.start_us:
            at += 1
        first = at
        while at < len(words) and (words[at].start_us or 0) < span.stop_us:
            at += 1
        if first == at:
            continue
        before = spans[place - 1].stop_us if place else 0
        after = spans[place + 1].start_us if place + 1 < len(spans) else duration_us
        inside = tuple(words[first:at])
        yield Said(
            speaker=name,
            span=span,
            words=inside,
            texts=tuple(normal(word.text) for word in inside),
            before_us=min(_FAR_US, span.start_us - before),
            after_us=max(0, min(_FAR_US, after - span.stop_us)),
            others_at_start=any(other.at(span.start_us) for other in others),
            others_at_stop=any(other.at(max(span.start_us, span.stop_us - 1)) for other in others),
            others_ago_us=_ago_us(span.start_us, others),
            others_next_us=_next_us(span.stop_us, others),
        )


def _ago_us(time_us: int, others: list[SpeechIndex]) -> int:

    nearest = _FAR_US
    for other in others:
        place = bisect_right(other.spans, Span(time_us, 1 << 62)) - 1
        if place >= 0:
            nearest = min(nearest, max(0, time_us - other.spans[place].stop_us))
    return nearest


def _next_us(time_us: int, others: list[SpeechIndex]) -> int:

    nearest = _FAR_US
    for other in others:
        place = bisect_left(other.spans, Span(time_us, time_us))
        if place < len(other.spans):
            nearest = min(nearest, other.spans[place].start_us - time_us)
    return nearest


def short_runs(unit: Said) -> list[tuple[int, int]]:
    """`[first, stop)` of the longest runs of short words and phrases in the unit."""
    runs: list[tuple[int, int]] = []
    at = 0
    while at < len(unit.texts):
        length = _short_here(unit.texts, at)
        if not length:
            at += 1
            continue
        if runs and runs[-1][1] == at:
            runs[-1] = (runs[-1][0], at + length)
        else:
            runs.append((at, at + length))
        at += length
    return runs


def _short_here(texts: tuple[str, ...], at: int) -> int:
    for phrase in _PHRASES:
        if texts[at : at + len(phrase)] == phrase:
            return len(phrase)
    return int(texts[at] in _SHORT_WORDS)
