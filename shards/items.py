"""Turns, words, cues and events of a recording, selected by clip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from corpus.schemas.artifacts import Segment
from corpus.schemas.clock import WINDOW_US
from corpus.schemas.conversation import Answer, Conversation, Cue, Event, LabelMade, Turn, Word
from corpus.schemas.drops import Drop
from corpus.schemas.ids import with_ids
from corpus.schemas.span import Span

_Item = TypeVar("_Item", Turn, Word, Cue, Answer, Event)


class _Timed(Generic[_Item]):
    """Items with times, selected by span."""

    def __init__(self, items: Sequence[_Item]) -> None:
        self.items: Sequence[_Item] = items
        spans: list[Span | None] = [item.span for item in items]
        self._starts = np.array([0 if s is None else s.start_us for s in spans], np.int64)
        self._stops = np.array([0 if s is None else s.stop_us for s in spans], np.int64)

    def _positions(self, start_us: int, stop_us: int) -> npt.NDArray[np.intp]:
        # An item without duration, such as a scene cut, belongs to the window of its time.
        reaches = (self._stops > start_us) | (self._starts >= start_us)
        return np.flatnonzero((self._starts < stop_us) & reaches)

    def within(self, start_us: int, stop_us: int) -> tuple[_Item, ...]:
        return tuple(self.items[i] for i in self._positions(start_us, stop_us))

    def outside(self, segments: Sequence[Segment]) -> int:
        """How many overlap none of the segments."""
        inside = np.zeros(len(self.items), bool)
        for s in segments:
            start_us, stop_us = s.first_window * WINDOW_US, (s.first_window + s.windows) * WINDOW_US
            inside[self._positions(start_us, stop_us)] = True
        return int(len(inside) - inside.sum())


@dataclass(frozen=True, slots=True, kw_only=True)
class Items:
    """A recording's items, selected by clip."""

    turns: _Timed[Turn]
    words: _Timed[Word]
    cues: _Timed[Cue]
    answers: _Timed[Answer]
    events: _Timed[Event]
    labels_made: tuple[LabelMade, ...]
    untimed_words: int

    @classmethod
    def of(cls, conversation: Conversation) -> Items:
        said, labelled = (conversation.turns, conversation.words), (conversation.cues, conversation.answers)
        groups = (*said, *labelled, conversation.events)
        if any(not item.id for group in groups for item in group):
            conversation = with_ids(conversation)
        timed = [word for word in conversation.words if word.span is not None]
        return cls(
            turns=_Timed(conversation.turns),
            words=_Timed(timed),
            cues=_Timed(conversation.cues),
            answers=_Timed(conversation.answers),
            events=_Timed(conversation.events),
            labels_made=conversation.labels_made,
            untimed_words=len(conversation.words) - len(timed),
        )

    def drops(self, uri: str, segments: Sequence[Segment]) -> list[Drop]:
        """Drops for items that are in no clip."""
        drops = []
        if self.untimed_words:
            reason = f"{self.untimed_words} words have no times and cannot be placed in a clip"
            drops.append(_trim(uri, "untimed_words", reason, self.untimed_words))
        for name in ("turns", "words", "cues", "answers", "events"):
            count = getattr(self, name).outside(segments)
            if count:
                reason = f"{count} {name} lie wholly outside the windows that are written"
                drops.append(_trim(uri, f"{name}_outside_windows", reason, count))
        return drops


def _trim(uri: str, code: str, reason: str, count: int) -> Drop:
    return Drop(item=uri, stage="cut", kind="trim", code=code, reason=reason, count=count)
