"""All decisions in memory: by item, by annotator, and their agreement.

A review is added once, in a time that depends only on its own item; only an undo processes the whole
recording again. So a server with a hundred thousand reviews always has its agreement at hand.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from itertools import islice

from corpus.schemas.agreement import Fact, facts
from corpus.schemas.review import Review
from corpus.schemas.votes import Grouping, standing

Key = tuple[str, str]
"""Recording and item."""
_AT_ONCE = 200


class Decisions:
    """Not thread-safe: protected by the queue's lock."""

    def __init__(self) -> None:
        self._reviews: dict[str, Review] = {}
        self._undone: set[str] = set()
        self._by_item: dict[Key, list[Review]] = defaultdict(list)
        self._by_annotator: dict[str, list[str]] = defaultdict(list)
        self._talks: dict[str, _Talk] = {}
        self._stale: dict[tuple[str, int], None] = {}
        """Recording and group on which somebody decided since its facts were taken."""
        self._disputed: dict[Key, None] = {}
        self._disputed_talk: dict[Key, None] = {}
        self._gold: dict[Key, None] = {}

    def __contains__(self, id_: str) -> bool:
        return id_ in self._reviews

    def take(self, review: Review) -> Key | None:
        """Add the next review; returns its item, or None if it was already known or undoes nothing known."""
        if review.id in self._reviews:
            return None
        self._reviews[review.id] = review
        if review.verdict == "undo":
            return self._undo(review)
        if review.id in self._undone:
            return None
        key = (review.recording, review.item)
        self._by_item[key].append(review)
        self._by_annotator[review.annotator].append(review.id)
        talk = self._talks.get(review.recording)
        if talk is None:
            talk = self._talks[review.recording] = _Talk()
        self._stale[review.recording, talk.grouping.put(review)] = None
        if review.role == "adjudication":
            self._gold[key] = None
        return key

    def _undo(self, review: Review) -> Key | None:
        undone = self._reviews.get(review.undoes)
        if undone is None or undone.annotator != review.annotator or undone.verdict == "undo":
            return None
        self._undone.add(undone.id)
        key = (undone.recording, undone.item)
        rows = self._by_item[key] = [row for row in self._by_item[key] if row.id != undone.id]
        if not any(row.role == "adjudication" for row in rows):
            self._gold.pop(key, None)
        again = _Talk()
        rows = standing(self._all_of(undone.recording))
        self._stale |= dict.fromkeys((undone.recording, again.grouping.put(row)) for row in rows)
        self._talks[undone.recording] = again
        for disputed in (self._disputed, self._disputed_talk):
            for other in [other for other in disputed if other[0] == undone.recording]:
                del disputed[other]
        return key

    def _all_of(self, recording: str) -> list[Review]:
        items = {item for group in self._talks[recording].grouping.groups for item in group.items}
        return [row for item in items for row in self._by_item[recording, item]]

    # -- asking -------------------------------------------------------------------------------

    def of(self, id_: str) -> Review | None:
        return self._reviews.get(id_)

    def said(self, key: Key) -> list[Review]:
        """The decisions in force on an item, in order, including those made under another id of the item."""
        recording, item = key
        if recording not in self._talks:
            return []
        items = self._talks[recording].grouping.same(item)
        rows = (row for name in items for row in self._by_item.get((recording, name), ()))
        return sorted(rows, key=lambda row: row.sequence)

    def decided_by(self, annotator: str, key: Key) -> bool:
        return any(review.annotator == annotator for review in self._by_item.get(key, ()))

    def last_of(self, annotator: str) -> Review | None:
        """The review that an undo would take back."""
        mine = self._by_annotator[annotator]
        while mine and mine[-1] in self._undone:
            mine.pop()
        return self._reviews[mine[-1]] if mine else None

    def gold(self) -> Iterable[Key]:
        """Items with a ruling, the earliest first."""
        return self._gold

    def disputed(self) -> Collection[Key]:
        """Cues on which annotators differ without a ruling; after start-up it is complete within seconds."""
        self.look_again(_AT_ONCE)
        return self._disputed.keys()

    def disputed_talk(self) -> Collection[Key]:
        """The same for words, turns and speakers."""
        self.look_again(_AT_ONCE)
        return self._disputed_talk.keys()

    def facts(self) -> list[Fact]:
        """The facts about all items that the measures of agreement need."""
        self.look_again()
        talks = (self._talks[name].facts for name in sorted(self._talks))
        return [facts[number] for facts in talks for number in range(len(facts))]

    def look_again(self, most: int | None = None) -> bool:
        """Update the items with new decisions, at most this many; returns whether there are more."""
        for key in list(self._stale) if most is None else list(islice(self._stale, most)):
            del self._stale[key]
            recording, number = key
            talk = self._talks[recording]
            if number >= len(talk.grouping.groups):  # there were more before an undo
                continue
            group = talk.grouping.groups[number]
            (talk.facts[number],) = facts([group])
            item = (recording, min(group.items))
            disputed = self._disputed if group.about == "cue" else self._disputed_talk
            if talk.facts[number].disputed:
                disputed[item] = None
            else:
                disputed.pop(item, None)
        return bool(self._stale)


class _Talk:
    """The decisions on one recording."""

    def __init__(self) -> None:
        self.grouping = Grouping()
        self.facts: dict[int, Fact] = {}
        """By place of the group."""
