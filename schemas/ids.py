"""Ids made from content, so that an item has the same id in every clip and every build."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable
from typing import TypeVar

from corpus.schemas.codec import digest
from corpus.schemas.conversation import Answer, Conversation, Cue, Event, Turn, Word

Item = TypeVar("Item", Turn, Word, Cue, Answer, Event)
_NAMED: dict[str, tuple[str, ...]] = {
    "t": ("speaker", "start_us", "stop_us"),
    "w": ("speaker", "start_us", "stop_us", "text"),
    "c": ("label", "kind", "speaker", "start_us", "stop_us"),
    "a": ("speaker", "start_us", "stop_us", "action", "why"),
    "e": ("label", "kind", "speaker", "start_us", "stop_us"),
}
"""The fields that make up an id, by its letter: fields added to an item later change no id."""


def with_ids(conversation: Conversation) -> Conversation:
    """The conversation in canonical order with an id on every turn, word, cue, answer and event.

    An id is a letter and 12 hex digits of the sha256 of the item's `_NAMED` fields; items that agree in all
    of them get `-2`, `-3` … in order. Order: start, stop, speaker, then content; words without
    times keep their place behind the word they follow.
    """
    return dataclasses.replace(
        conversation,
        turns=_identified("t", sorted(conversation.turns, key=_order)),
        words=_identified("w", _words_in_order(conversation.words)),
        cues=_identified("c", sorted(conversation.cues, key=_order)),
        answers=with_answer_ids(conversation.answers),
        events=_identified("e", sorted(conversation.events, key=_order)),
    )


def with_answer_ids(answers: Iterable[Answer]) -> tuple[Answer, ...]:
    """Answers in canonical order, with ids."""
    return _identified("a", sorted(answers, key=_order))


def _order(item: Turn | Cue | Answer | Event) -> tuple[int, int, str, str]:
    content = digest(dataclasses.replace(item, id=""))
    return (item.start_us, item.stop_us, item.speaker or "", content)


def _words_in_order(words: Iterable[Word]) -> list[Word]:
    """By start; a word without times comes right after the same speaker's word before it."""
    keyed: list[tuple[tuple[int, str, int], Word]] = []
    last_us: dict[str, int] = {}
    for place, word in enumerate(words):
        if word.start_us is not None:
            last_us[word.speaker] = word.start_us
        keyed.append(((last_us.get(word.speaker, 0), word.speaker, place), word))
    return [word for _, word in sorted(keyed, key=lambda pair: pair[0])]


def _identified(letter: str, items: Iterable[Item]) -> tuple[Item, ...]:
    seen: Counter[str] = Counter()
    result: list[Item] = []
    for item in items:
        name = letter + digest([getattr(item, name) for name in _NAMED[letter]])[:12]
        seen[name] += 1
        suffix = f"-{seen[name]}" if seen[name] > 1 else ""
        result.append(dataclasses.replace(item, id=name + suffix))
    return tuple(result)
