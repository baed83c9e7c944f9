"""Tracks faces, hands and bodies from picture to picture: one network follows known ones, the detector finds
new ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from corpus.align.sight.changes import Changes
from corpus.align.sight.piece import Box, Piece, overlap

LEAST_SCORE = 0.5
"""Score of the following network below which the piece does not show the thing."""
_SAME = 0.3
"""For faces: boxes with a larger intersection over union are of the same thing."""
SAME_PIECE = 0.5
"""The same for boxes of examined pieces, which are larger, as hands may be side by side."""
LOST_US = 1_000_000
"""A thing not seen for so long has left; until then it may be recovered."""
DETECT_US = 500_000
RARELY_US = 2_000_000
"""If nothing has changed outside what is followed, the detector runs only this often."""


class _Placed(Protocol):
    """Something in the picture that can be examined closely."""

    @property
    def box(self) -> Box: ...
    @property
    def piece(self) -> Piece: ...


class _Followed(_Placed, Protocol):
    """The network's result for a piece."""

    @property
    def score(self) -> float: ...


T = TypeVar("T", bound=_Followed)


@dataclass(slots=True)
class _Track(Generic[T]):
    id: int
    thing: T
    seen_us: int


@dataclass(slots=True)
class Tracker(Generic[T]):
    """Gives each thing in a picture, all of one sort, the number of its track."""

    most: int
    same: float = _SAME
    beside: float = _SAME / 2
    """A thing that the detector finds is new unless it overlaps a followed one by more than this."""
    changes: Changes | None = None
    _tracks: list[_Track[T]] = field(default_factory=list)
    _next_id: int = 0
    _detected_us: int | None = None

    def forget(self) -> None:
        """Forget everything that is followed, after a cut or a hole."""
        self._tracks.clear()
        self._detected_us = None
        if self.changes:
            self.changes.forget()

    def step(
        self, time_us: int, look_at: Callable[[Piece], T], detect: Callable[[], Sequence[_Placed]]
    ) -> list[tuple[int, T]]:
        """The things in the picture at `time_us`, by track.

        `look_at` runs the network on a piece of that picture; `detect` finds everything in it.
        """
        seen: dict[int, T] = {}
        lost = False
        for track in self._tracks:
            thing = look_at(track.thing.piece)
            # When its thing leaves, a network slides to the neighbour, which the older track keeps.
            taken = any(overlap(thing.box, other.box) > self.same for other in seen.values())
            if thing.score >= LEAST_SCORE and not taken:
                seen[track.id], track.thing, track.seen_us = thing, thing, time_us
            else:
                lost = True
        # The detector costs most: run it when something is lost, and twice a second where anything changes.
        if lost or self._due(time_us, seen):
            self._detected_us = time_us
            if self.changes:
                self.changes.detected()
            self._add(time_us, detect(), look_at, seen)
        self._tracks = [t for t in self._tracks if time_us - t.seen_us < LOST_US]
        return sorted(seen.items(), key=lambda pair: pair[0])

    def _due(self, time_us: int, seen: dict[int, T]) -> bool:
        if self._detected_us is None:
            return True
        since_us = time_us - self._detected_us
        if since_us < DETECT_US or self.changes is None or since_us >= RARELY_US:
            return since_us >= DETECT_US
        return self.changes.outside([thing.box for thing in seen.values()])

    def _add(
        self, time_us: int, found: Sequence[_Placed], look_at: Callable[[Piece], T], seen: dict[int, T]
    ) -> None:
        for each in found:
            if any(overlap(each.box, thing.box) > self.beside for thing in seen.values()):
                continue
            if len(seen) >= self.most:
                break
            thing = look_at(each.piece)
            taken = any(overlap(thing.box, other.box) > self.same for other in seen.values())
            if thing.score < LEAST_SCORE or taken:
                continue
            track = self._lost_at(thing, seen) or self._new(thing)
            seen[track.id], track.thing, track.seen_us = thing, thing, time_us

    def _lost_at(self, thing: T, seen: dict[int, T]) -> _Track[T] | None:
        """The track that was lost at this place, if any."""
        gone = (t for t in self._tracks if t.id not in seen)
        return next((t for t in gone if overlap(t.thing.box, thing.box) > _SAME), None)

    def _new(self, thing: T) -> _Track[T]:
        track = _Track(self._next_id, thing, 0)
        self._next_id += 1
        self._tracks.append(track)
        return track
