"""Which cue comes next, for whom. Everything is held in arrays: 1 M cues are asked in microseconds."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from corpus.review.corpus import LABELS, Columns
from corpus.schemas.agreement import AgreementReport, Fact, facts, report_of
from corpus.schemas.review import Review
from corpus.schemas.votes import groups, standing

Mode = Literal["uncertain", "random", "disagreement", "gold"]
MODES: tuple[Mode, ...] = ("uncertain", "random", "disagreement", "gold")

LEASE_S = 300.0
"""How long an item that was handed out is kept from others."""
_CHUNK = 4096

Places = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Progress:
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
        self._rng = np.random.default_rng(seed)
        self._shuffled = self._rng.permutation(len(columns))
        self._place = {
            (int(r), c): n for n, (r, c) in enumerate(zip(columns.recording, columns.cue, strict=True))
        }
        self._code = {name: n for n, name in enumerate(columns.recordings)}
        self._count = np.zeros(len(columns), np.int16)
        self._mine: dict[str, npt.NDArray[np.bool_]] = defaultdict(lambda: np.zeros(len(columns), bool))
        self._orders: dict[tuple[str, int], Places] = {}
        self._ahead: dict[tuple[str, int, str], int] = {}
        self._leases: dict[int, tuple[str, float]] = {}
        self._reviews: dict[str, Review] = {}
        self._by_item: dict[tuple[str, str], list[Review]] = defaultdict(list)
        self._by_recording: dict[str, list[Review]] = defaultdict(list)
        self._facts: dict[str, list[Fact]] = {}
        self._stale: set[str] = set()
        self._disputed: dict[tuple[str, str], None] = {}
        self._gold: dict[tuple[str, str], Review] = {}
        self._given: dict[str, int] = defaultdict(int)
        for review in reviews:
            self._take(review)
        self._dispute_all()

    # -- what was decided ---------------------------------------------------------------------

    def take(self, review: Review) -> None:
        """A decision has been kept."""
        with self._lock:
            self._take(review)
            key = self._key(review)
            if key is not None:
                self._dispute(key)

    def _key(self, review: Review) -> tuple[str, str] | None:
        found = self._reviews.get(review.undoes) if review.verdict == "undo" else review
        return (found.recording, found.item) if found is not None else None

    def _take(self, review: Review) -> None:
        if review.id in self._reviews:
            return
        self._reviews[review.id] = review
        key = self._key(review)
        if key is None:
            return
        rows = self._by_item[key]
        rows.append(review)
        self._by_recording[key[0]].append(review)
        self._stale.add(key[0])
        place = self.place(*key)
        if review.role == "adjudication" and review.verdict != "undo":
            self._gold[key] = review
        if place is None:
            return
        self._leases.pop(place, None)
        held = self._mine[review.annotator]
        before = bool(held[place])
        if review.verdict == "undo":
            now = any(r.annotator == review.annotator for r in standing(rows))
            self._ahead.clear()
        else:
            now = True
        held[place] = now
        self._count[place] += int(now) - int(before)

    def place(self, recording: str, item: str) -> int | None:
        code = self._code.get(recording)
        return None if code is None else self._place.get((code, item))

    def _dispute_all(self) -> None:
        for key, rows in self._by_item.items():
            if len(rows) > 1:
                self._dispute(key)

    def _dispute(self, key: tuple[str, str]) -> None:
        if any(fact.disputed for fact in facts(groups(self._by_item[key], ()))):
            self._disputed[key] = None
        else:
            self._disputed.pop(key, None)

    def said(self, recording: str, item: str) -> list[Review]:
        """The standing decisions on an item."""
        with self._lock:
            return standing(self._by_item.get((recording, item), ()))

    def disputed(self) -> list[tuple[str, str]]:
        with self._lock:
            return list(self._disputed)

    def agreement(self) -> AgreementReport:
        """Of all recordings; only those are looked at again in which somebody decided since."""
        with self._lock:
            again = [(name, list(self._by_recording[name])) for name in sorted(self._stale)]
            self._stale.clear()
        fresh = {name: facts(groups(rows, ())) for name, rows in again}
        with self._lock:
            self._facts.update(fresh)
            found = [fact for name in sorted(self._facts) for fact in self._facts[name]]
        return report_of(found)

    def of(self, id_: str) -> Review | None:
        return self._reviews.get(id_)

    def last_of(self, annotator: str) -> Review | None:
        """What an undo takes back."""
        with self._lock:
            mine = [r for r in self._reviews.values() if r.annotator == annotator]
        rows = standing(mine)
        return rows[-1] if rows else None

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
        """Recording, item and how each was drawn; fewer than asked for when nothing is left."""
        code = LABELS.index(label) if label in LABELS else -1
        with self._lock:
            avoid = {place for key in without if (place := self.place(*key)) is not None}
            found: list[tuple[str, str, Mode]] = []
            while len(found) < number:
                gold = self._next_gold(annotator, mode, avoid)
                place = gold if gold is not None else self._next(annotator, mode, code, avoid)
                if place is None:
                    break
                avoid.add(place)
                self._leases[place] = (annotator, time.monotonic() + LEASE_S)
                key = self._name(place)
                found.append((*key, "gold" if gold is not None else mode))
            return found

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
        for key in self._gold:
            place = self.place(*key)
            if place is not None and place not in avoid and not self._mine[annotator][place]:
                return place
        return None

    def _next(self, annotator: str, mode: Mode, code: int, avoid: set[int]) -> int | None:
        if mode == "disagreement":
            return self._next_disputed(annotator, code, avoid)
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

    def _next_disputed(self, annotator: str, code: int, avoid: set[int]) -> int | None:
        for key in self._disputed:
            place = self.place(*key)
            if place is not None and place not in avoid and (code < 0 or self.columns.label[place] == code):
                return place
        return None

    def _order(self, mode: Mode, code: int) -> Places:
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

    def progress(self, annotator: str, label: str = "") -> Progress:
        code = LABELS.index(label) if label in LABELS else -1
        with self._lock:
            wanted = ~self.columns.human
            if code >= 0:
                wanted = wanted & (self.columns.label == code)
            return Progress(
                done=int(np.count_nonzero(wanted & (self._count >= self.overlap))),
                mine=int(np.count_nonzero(self._mine[annotator])) if annotator in self._mine else 0,
                whole=int(np.count_nonzero(wanted)),
            )

    def counts(self) -> Mapping[str, int]:
        """Cues by label."""
        found = np.bincount(self.columns.label[~self.columns.human], minlength=len(LABELS))
        return {name: int(count) for name, count in zip(LABELS, found, strict=True) if count}


def _rank_within(labels: npt.NDArray[np.int16]) -> Places:
    """Each entry's place among those of its label, in the given order."""
    order = np.argsort(labels, kind="stable")
    ranks = np.empty(len(labels), np.int64)
    starts = np.searchsorted(labels[order], np.arange(len(LABELS)))
    ranks[order] = np.arange(len(labels)) - starts[labels[order]]
    return ranks
