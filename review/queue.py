"""Which cue comes next for each annotator. Everything is in arrays: queries on 1 M cues take microseconds."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Literal

import numpy as np
import numpy.typing as npt

from corpus.review.corpus import LABELS, Columns
from corpus.review.decisions import Decisions, Key
from corpus.schemas.agreement import AgreementReport, report_of
from corpus.schemas.arrays import Int64Array
from corpus.schemas.review import Review
from corpus.schemas.span import Span

Mode = Literal["uncertain", "random", "disagreement", "gold"]
MODES: tuple[Mode, ...] = ("uncertain", "random", "disagreement", "gold")

_LEASE_S = 300.0
"""How long an item that was handed out is kept from others."""
_CHUNK = 4096
_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class _Progress:
    done: int
    mine: int
    whole: int


class Queue:
    """Hands out every cue to as many annotators as `overlap` says, and to none twice."""

    def __init__(
        self,
        columns: Columns,
        reviews: Iterable[Review],
        *,
        overlap: int = 1,
        seed: int = 0,
        gold_every: int = 0,
    ) -> None:
        self.columns = columns
        self.overlap = overlap
        self.gold_every = gold_every
        self._lock = threading.Lock()
        self._shuffled = np.random.default_rng(seed).permutation(len(columns))
        self._rows = _rows_by_recording(columns)
        self._places: dict[str, dict[str, int]] = {}
        self._count = np.zeros(len(columns), np.int16)
        self._mine: dict[str, npt.NDArray[np.bool_]] = defaultdict(lambda: np.zeros(len(columns), bool))
        self._whole = np.bincount(columns.label[~columns.human], minlength=len(LABELS))
        self._done = np.zeros(len(LABELS), np.int64)
        self._done_by: dict[str, int] = defaultdict(int)
        self._orders: dict[tuple[str, int], Int64Array] = {}
        self._ahead: dict[tuple[str, int, str], int] = {}
        self._leases: dict[int, tuple[str, float]] = {}
        self._given: dict[str, int] = defaultdict(int)
        self._decisions = Decisions()
        self.sequence = 0
        """Of the last review that was taken in at the start."""
        for review in reviews:
            self._take(review)
            self.sequence = review.sequence
        self._order("uncertain", -1)
        self._order("random", -1)

    # -- what was decided ---------------------------------------------------------------------

    def take(self, review: Review) -> None:
        """Take note of a stored decision."""
        with self._lock:
            self._take(review)

    def _take(self, review: Review) -> None:
        key = self._decisions.take(review)
        place = self.place(*key) if key is not None else None
        if key is None or place is None:
            return
        self._leases.pop(place, None)
        mine = self._mine[review.annotator]
        before, now = bool(mine[place]), True
        if review.verdict == "undo":
            now = self._decisions.decided_by(review.annotator, key)
            self._ahead.clear()  # it may come again, before where the search had got to
        if now != before:
            mine[place] = now
            self._tally(place, review.annotator, 1 if now else -1)

    def _tally(self, place: int, annotator: str, more: int) -> None:
        full_before = self._count[place] >= self.overlap
        self._count[place] += more
        full = self._count[place] >= self.overlap
        self._done_by[annotator] += more
        if not self.columns.human[place]:
            self._done[self.columns.label[place]] += int(full) - int(full_before)

    def place(self, recording: str, item: str) -> int | None:
        known = self._places.get(recording)
        if known is None:
            start, stop = self._rows.get(recording, (0, 0))
            known = {name: n for n, name in enumerate(self.columns.cue[start:stop].tolist(), start)}
            self._places[recording] = known
        return known.get(item)

    def span(self, recording: str, item: str) -> Span | None:
        """The span of a cue in the dataset."""
        place = self.place(recording, item)
        if place is None:
            return None
        return Span(int(self.columns.start_us[place]), int(self.columns.stop_us[place]))

    def said(self, recording: str, item: str) -> list[Review]:
        """The decisions in force on an item."""
        with self._lock:
            return self._decisions.said((recording, item))

    def disputed(self) -> int:
        """How many items annotators disagree on without a ruling."""
        with self._lock:
            return len(self._decisions.disputed())

    def disputed_talk(self) -> list[list[Review]]:
        """The decisions on each word, turn and speaker on which annotators disagree."""
        with self._lock:
            return [self._decisions.said(key) for key in self._decisions.disputed_talk()]

    def agreement(self) -> AgreementReport:
        """Agreement over all recordings."""
        self.look_again()
        with self._lock:
            facts = self._decisions.facts()
        return report_of(facts)

    def look_again(self) -> None:
        """Update the agreement with new decisions, a few at a time: others need the lock too."""
        more = True
        while more:
            with self._lock:
                more = self._decisions.look_again(_AT_ONCE)

    def of(self, id_: str) -> Review | None:
        return self._decisions.of(id_)

    def last_of(self, annotator: str) -> Review | None:
        """The review that an undo would take back."""
        with self._lock:
            return self._decisions.last_of(annotator)

    # -- what comes next ----------------------------------------------------------------------

    def next(
        self,
        annotator: str,
        mode: Mode,
        *,
        label: str = "",
        number: int = 1,
        without: Iterable[tuple[str, str]] = (),
    ) -> list[tuple[str, str, Mode]]:
        """Recording, item and how each was drawn; fewer than requested if no more are left."""
        code = LABELS.index(label) if label in LABELS else -1
        without = set(without)
        with self._lock:
            if mode == "disagreement":
                disputed = (key for key in self._decisions.disputed() if key not in without)
                return [(*key, mode) for key in islice(filter(self._of_label(code), disputed), number)]
            avoid = {place for key in without if (place := self.place(*key)) is not None}
            drawn: list[tuple[str, str, Mode]] = []
            while len(drawn) < number:
                gold = self._next_gold(annotator, mode, avoid)
                place = gold if gold is not None else self._next(annotator, mode, code, avoid)
                if place is None:
                    break
                avoid.add(place)
                self._leases[place] = (annotator, time.monotonic() + _LEASE_S)
                key = self._name(place)
                drawn.append((*key, "gold" if gold is not None else mode))
            return drawn

    def _of_label(self, code: int) -> Callable[[Key], bool]:
        """Whether a cue has a label; one that was added has none in the dataset, and is always taken."""

        def of_label(key: Key) -> bool:
            place = self.place(*key)
            return code < 0 or place is None or self.columns.label[place] == code

        return of_label

    def _name(self, place: int) -> tuple[str, str]:
        return self.columns.recordings[self.columns.recording[place]], str(self.columns.cue[place])

    def _next_gold(self, annotator: str, mode: Mode, avoid: set[int]) -> int | None:
        """Every so often one that was adjudicated: it measures the annotator."""
        if mode == "gold":
            return self._gold_for(annotator, avoid)
        self._given[annotator] += 1
        if not self.gold_every or self._given[annotator] % self.gold_every:
            return None
        return self._gold_for(annotator, avoid)

    def _gold_for(self, annotator: str, avoid: set[int]) -> int | None:
        for key in self._decisions.gold():
            place = self.place(*key)
            if place is not None and place not in avoid and not self._mine[annotator][place]:
                return place
        return None

    def _next(self, annotator: str, mode: Mode, code: int, avoid: set[int]) -> int | None:
        order = self._order(mode, code)
        mine = self._mine[annotator]
        name = (mode, code, annotator)
        at = self._ahead.get(name, 0)
        now = time.monotonic()
        first = True
        while at < len(order):
            chunk = order[at : at + _CHUNK]
            free = (self._count[chunk] < self.overlap) & ~mine[chunk]
            if first:
                ahead = int(np.argmax(free)) if free.any() else len(chunk)
                self._ahead[name] = at + ahead
                first = bool(ahead == len(chunk))
            for place in chunk[free]:
                lease = self._leases.get(int(place))
                taken = lease is not None and lease[0] != annotator and lease[1] > now
                full = lease is not None and taken and self._count[place] + 1 >= self.overlap
                if int(place) not in avoid and not full:
                    return int(place)
            at += len(chunk)
        return None

    def _order(self, mode: Mode, code: int) -> Int64Array:
        """Uncertain ones first, or in an order drawn by lot, the same share of every label at any time."""
        known = self._orders.get((mode, code))
        if known is not None:
            return known
        places = self._shuffled[~self.columns.human[self._shuffled]]
        if code >= 0:
            places = places[self.columns.label[places] == code]
        if mode == "uncertain":
            doubt = np.abs(self.columns.confidence[places] - 0.5)
            order = places[np.argsort(doubt, kind="stable")]
        else:
            order = places[np.argsort(_rank_within(self.columns.label[places]), kind="stable")]
        self._orders[mode, code] = order
        return order

    def progress(self, annotator: str, label: str = "") -> _Progress:
        labels = slice(None) if label not in LABELS else LABELS.index(label)
        with self._lock:
            return _Progress(
                done=int(self._done[labels].sum()),
                mine=self._done_by.get(annotator, 0),
                whole=int(self._whole[labels].sum()),
            )

    def counts(self) -> Mapping[str, int]:
        """Counts of cues by label."""
        return {name: int(count) for name, count in zip(LABELS, self._whole, strict=True) if count}


def _rows_by_recording(columns: Columns) -> dict[str, tuple[int, int]]:
    """First row and the row behind the last of every recording: its cues stand together."""
    if not len(columns):
        return {}
    starts = np.concatenate(([0], np.flatnonzero(np.diff(columns.recording)) + 1))
    stops = np.concatenate((starts[1:], [len(columns)]))
    names = columns.recording[starts]
    return {
        columns.recordings[n]: (int(a), int(b))
        for n, a, b in zip(names, starts, stops, strict=True)
        if n >= 0
    }


def _rank_within(labels: npt.NDArray[np.int16]) -> Int64Array:
    """Each entry's place among those of its label, in the given order."""
    order = np.argsort(labels, kind="stable")
    ranks = np.empty(len(labels), np.int64)
    starts = np.searchsorted(labels[order], np.arange(len(LABELS)))
    ranks[order] = np.arange(len(labels)) - starts[labels[order]]
    return ranks
