"""The model behind the page: dataset, store and queue together, and the requests a client may make."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from corpus.review.corpus import Catalog
from corpus.review.deciding import Handed, around_of, read_review, turns_near
from corpus.review.meanings import MEANINGS
from corpus.review.media import Media
from corpus.review.queue import MODES, Mode, Queue
from corpus.review.store import Store
from corpus.schemas.agreement import AgreementReport
from corpus.schemas.clock import WINDOW_US
from corpus.schemas.codec import to_plain
from corpus.schemas.conversation import CUE_KINDS, Cue
from corpus.schemas.errors import CorpusError, UsageError
from corpus.schemas.review import Judged, Review
from corpus.schemas.span import Span

logger = logging.getLogger(__name__)

_AROUND_US = 2_000_000
"""Shown before and after a cue."""
_LONGEST_US = 30_000_000
_MOST_DISPUTES = 100

Plain = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    overlap: int = 1
    """How many annotators get each item."""
    gold_every: int = 0
    """Every n-th item is one that was ruled on; 0 for none."""
    seed: int = 0


class Room:
    """The server's content. A rebuilt dataset is noticed and loaded; reviewing continues meanwhile."""

    def __init__(self, out: Path, options: Options | None = None) -> None:
        self.out = out
        self.options = options or Options()
        self.store = Store(out)
        self._lock = threading.Lock()
        self._handed = Handed()
        self._agreement: tuple[int, AgreementReport] | None = None
        self._looked = 0.0
        self._opening = threading.Thread()
        self.generation = 0
        self._open()

    def _open(self) -> None:
        catalog = Catalog(self.out)
        media = Media(self.out, catalog.films())
        queue = Queue(
            catalog.columns(), self.store.reviews(), overlap=self.options.overlap, seed=self.options.seed,
            gold_every=self.options.gold_every,
        )  # fmt: skip
        self.store.look_at_dataset()
        known = queue.sequence
        self.catalog, self.media, self.queue = catalog, media, queue
        for review in self.store.reviews(after=known):  # decided while the queue was made
            queue.take(review)
        self.generation += 1
        threading.Thread(target=queue.look_again, daemon=True).start()  # the agreement is soon at hand

    def refresh(self) -> None:
        """Load a rebuilt dataset in the background; checked once a second."""
        now = time.monotonic()
        with self._lock:
            if now - self._looked < 1 or self._opening.is_alive() or self.catalog.is_current():
                return
            self._looked = now
            self._opening = threading.Thread(target=self._open_again, daemon=True)
            self._opening.start()

    def _open_again(self) -> None:
        try:
            self._open()
        except CorpusError as error:  # a build is just writing: the old one serves on
            logger.info("the dataset is being rebuilt: %s", error)

    def close(self) -> None:
        self.store.export()
        self.store.close()
        self.catalog.close()

    # -- asking -------------------------------------------------------------------------------

    def state(self, annotator: str) -> Plain:
        progress = self.queue.progress(annotator)
        return {
            "dataset": self.out.resolve().name,
            "store": self.store.id,
            "generation": self.generation,
            "sequence": self.store.sequence,
            "labels": {name: list(kinds) for name, kinds in CUE_KINDS.items()},
            "counts": dict(self.queue.counts()),
            "meanings": {name: to_plain(meaning) for name, meaning in MEANINGS.items()},
            "modes": list(MODES),
            "overlap": self.options.overlap,
            "progress": to_plain(progress),
            "disputed": self.queue.disputed(),
        }

    def next(
        self,
        annotator: str,
        mode: str,
        label: str,
        number: int,
        without: Sequence[Sequence[str]],
        whole: bool = True,
    ) -> Plain:
        """The next items, with everything needed to show them."""
        self.refresh()
        if mode not in MODES:
            raise UsageError(f"{mode!r} is not a way to draw; use one of {', '.join(MODES)}")
        chosen: Mode = mode
        drawn = self.queue.next(
            annotator,
            chosen,
            label=label,
            number=number,
            without=[(w[0], w[1]) for w in without if len(w) == 2],
        )
        items = [self.item(recording, name, how) for recording, name, how in drawn]
        return {
            "generation": self.generation,
            "items": [item for item in items if item is not None],
            "progress": to_plain(self.queue.progress(annotator, label)),
            "disputed": self.queue.disputed(),
        }

    def item(self, recording: str, name: str, draw: str) -> Plain | None:
        """One cue with its context; sound and pictures are requested separately."""
        recorded = self.catalog.recorded(recording)
        known = self.queue.span(recording, name)
        cue = self._cue(recording, name) if known is None else None
        span = known or (cue.span if cue is not None else None)
        if recorded is None or span is None:
            return None
        from_us, to_us = _stretch(span, recorded.duration_us)
        cues = self.catalog.cues(recording, from_us, max(to_us, span.stop_us))
        cue = cue or next((cue for cue in cues if cue.id == name), None)
        if cue is None:
            return None
        heard = turns_near(self.catalog, recording, cue.start_us, cue.stop_us)
        turns = [turn for turn in heard if turn.start_us < to_us and turn.stop_us > from_us]
        words = self.catalog.words(recording, from_us, to_us)
        around = around_of(heard)
        self._handed.remember(recording, [Judged(cue=cue)], around)
        self._handed.remember(recording, [Judged(turn=turn) for turn in turns], around)
        self._handed.remember(recording, [Judged(word=word) for word in words], around)
        return {
            "recording": recording,
            "item": name,
            "draw": draw,
            "cue": to_plain(cue),
            "said": self._said(recording, name) if draw == "disagreement" else [],
            "uri": recorded.uri,
            "duration_us": recorded.duration_us,
            "speakers": list(recorded.speakers),
            "channels": list(self.media.channels(recorded.id)),
            "from_us": from_us,
            "to_us": to_us,
            "turns": to_plain(turns),
            "words": to_plain(words),
            "cues": to_plain(cues),
            "pictures": self.media.has_pictures(recorded.id),
        }

    def _cue(self, recording: str, name: str) -> Cue | None:
        """As the dataset has it, else as people who decided on it had it: one that was added, say."""
        cue = self.catalog.cue(recording, name)
        for review in self.queue.said(recording, name) if cue is None else ():
            parts = [part for part in (review.judged, *review.becomes) if part is not None]
            cue = replace(parts[-1].cue, id=name) if parts and parts[-1].cue is not None else cue
        return cue

    def _said(self, recording: str, name: str) -> list[Plain]:
        return [
            {"annotator": r.annotator, "verdict": r.verdict, "becomes": to_plain(r.becomes), "note": r.note}
            for r in self.queue.said(recording, name)
            if r.role == "annotation"
        ]

    def disputes(self) -> list[Plain]:
        """Words, turns and speakers on which annotators disagree, with each one's decision."""
        disputes = []
        for rows in self.queue.disputed_talk()[:_MOST_DISPUTES]:
            recorded = self.catalog.recorded(rows[0].recording)
            said = [
                {"annotator": r.annotator, "verdict": r.verdict, "becomes": to_plain(r.becomes)}
                for r in rows
                if r.role == "annotation" and r.verdict != "unsure"
            ]
            disputes.append(
                {
                    "recording": rows[0].recording,
                    "uri": recorded.uri if recorded is not None else "",
                    "item": rows[0].item,
                    "about": rows[0].about,
                    "judged": to_plain(rows[0].judged),
                    "said": said,
                }
            )
        return disputes

    def example(self, label: str) -> Plain | None:
        """A cue of a label that people accepted, otherwise the one its labeler is most certain of."""
        surest = self.catalog.surest(label)
        return self.item(*surest, "chosen") if surest is not None else None

    def last(self, annotator: str) -> Plain:
        """The review that an undo by this annotator would take back, with its item; empty without any."""
        review = self.queue.last_of(annotator)
        if review is None:
            return {}
        item = self.item(review.recording, review.item, review.draw) if review.about == "cue" else None
        return {"id": review.id, "verdict": review.verdict, "item": item}

    def agreement(self) -> AgreementReport:
        sequence = self.store.sequence
        if self._agreement is None or self._agreement[0] != sequence:
            self._agreement = (sequence, self.queue.agreement())
        return self._agreement[1]

    # -- deciding -----------------------------------------------------------------------------

    def decide(self, annotator: str, plain: Sequence[Mapping[str, Any]], where: str = "") -> list[Review]:
        """Store decisions durably, all or none.

        Raises:
            UsageError, FormatError: one of them is invalid; nothing is stored.
            StorageError: the disk fails; nothing is stored.
        """
        self.refresh()
        new: dict[str, Review] = {}
        for asked in plain:
            review = read_review(
                annotator, asked, catalog=self.catalog, handed=self._handed,
                known=lambda id_: new.get(id_) or self.queue.of(id_),  # it may come in the same batch
            )  # fmt: skip
            new[review.id] = review
        kept = self.store.add(list(new.values()))
        for review in kept:
            self.queue.take(review)
            what = (review.sequence, annotator, review.verdict, review.about, review.item)
            logger.info(
                "review seq=%d annotator=%r verdict=%s about=%s item=%r recording=%s from=%s",
                *(*what, review.recording[:20], where),
            )
        return kept


def _stretch(span: Span, duration_us: int) -> tuple[int, int]:
    """Whole windows from two seconds before a cue to two seconds after it, of half a minute at most."""
    from_us = max(0, span.start_us - _AROUND_US) // WINDOW_US * WINDOW_US
    to_us = min(span.stop_us + _AROUND_US, span.start_us + _LONGEST_US)
    last_us = duration_us // WINDOW_US * WINDOW_US
    return from_us, max(from_us + WINDOW_US, min(-(-to_us // WINDOW_US) * WINDOW_US, last_us))
