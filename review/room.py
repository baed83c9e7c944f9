"""The room behind the page: dataset, store and queue together, and what a client may ask of them."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from corpus.review.corpus import Catalog, Recorded
from corpus.review.meanings import MEANINGS
from corpus.review.media import Media
from corpus.review.queue import MODES, Mode, Queue
from corpus.review.store import Store
from corpus.schemas.agreement import AgreementReport
from corpus.schemas.clock import WINDOW_US
from corpus.schemas.codec import from_plain, to_plain
from corpus.schemas.conversation import CUE_KINDS, Cue, Turn
from corpus.schemas.errors import CorpusError, FormatError, UsageError
from corpus.schemas.review import Judged, Review
from corpus.schemas.span import Span
from corpus.schemas.votes import content_of, span_of, speaker_of

logger = logging.getLogger(__name__)

AROUND_US = 2_000_000
"""Shown before and after a cue."""
HEARD_US = 10_000_000
"""The turns this far around it are kept with a review, to find its speakers again."""
_LONGEST_US = 30_000_000
_MOST_AROUND = 200
_REMEMBERED = 100_000

Plain = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    overlap: int = 1
    """How many annotators get each item."""
    gold_every: int = 0
    """Every n-th item is one that was adjudicated; 0 for none."""
    seed: int = 0


class Room:
    """What the server serves. A rebuilt dataset is noticed and taken in; deciding goes on meanwhile."""

    def __init__(self, out: Path, options: Options | None = None) -> None:
        self.out = out
        self.options = options or Options()
        self.store = Store(out)
        self._lock = threading.Lock()
        self._handed: OrderedDict[tuple[str, str, str], tuple[Judged, tuple[Turn, ...]]] = OrderedDict()
        self._agreement: tuple[int, AgreementReport] | None = None
        self._looked = 0.0
        self.generation = 0
        self._open()

    def _open(self) -> None:
        catalog, media = Catalog(self.out), Media(self.out)
        queue = Queue(
            catalog.columns(), self.store.reviews(), overlap=self.options.overlap, seed=self.options.seed,
            gold_every=self.options.gold_every,
        )  # fmt: skip
        self.catalog, self.media, self.queue = catalog, media, queue
        threading.Thread(target=queue.agreement, daemon=True).start()  # so that the page finds it almost done
        self.generation += 1

    def refresh(self) -> None:
        """Take in a dataset that was built anew; looked for once a second."""
        now = time.monotonic()
        if now - self._looked < 1:
            return
        with self._lock:
            self._looked = now
            if self.catalog.is_current():
                return
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
            "generation": self.generation,
            "sequence": self.store.sequence,
            "labels": {name: list(kinds) for name, kinds in CUE_KINDS.items()},
            "counts": dict(self.queue.counts()),
            "meanings": {name: to_plain(meaning) for name, meaning in MEANINGS.items()},
            "modes": list(MODES),
            "overlap": self.options.overlap,
            "progress": to_plain(progress),
            "disputed": len(self.queue.disputed()),
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
        """The next items, with all that is needed to show them."""
        self.refresh()
        if mode not in MODES:
            raise UsageError(f"{mode!r} is no way to draw; one of {', '.join(MODES)}")
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
            "disputed": len(self.queue.disputed()),
        }

    def item(self, recording: str, name: str, draw: str) -> Plain | None:
        """One cue with what is around it: three questions to the catalog."""
        recorded = self.catalog.recorded(recording)
        span = self._place_of(recording, name)
        if recorded is None or span is None:
            return None
        from_us, to_us = _stretch(span, recorded.duration_us)
        cues = self.catalog.cues(recording, from_us, to_us)
        cue = next((cue for cue in cues if cue.id == name), None)
        if cue is None:
            return None
        heard = self.catalog.turns(recording, max(0, span.start_us - HEARD_US), span.stop_us + HEARD_US)
        turns = [turn for turn in heard if turn.start_us < to_us and turn.stop_us > from_us]
        words = self.catalog.words(recording, from_us, to_us)
        around = tuple(replace(turn, id="") for turn in heard[:_MOST_AROUND])
        self._remember(recording, [Judged(cue=cue)], around)
        self._remember(recording, [Judged(turn=turn) for turn in turns], around)
        self._remember(recording, [Judged(word=word) for word in words], around)
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
            "outlines": self.media.outlines(recorded.id, from_us, to_us),
            "pictures": self.media.has_pictures(recorded.id),
        }

    def _place_of(self, recording: str, name: str) -> Span | None:
        place = self.queue.place(recording, name)
        if place is None:
            return None
        columns = self.queue.columns
        return Span(int(columns.start_us[place]), int(columns.stop_us[place]))

    def _said(self, recording: str, name: str) -> list[Plain]:
        return [
            {"annotator": r.annotator, "verdict": r.verdict, "becomes": to_plain(r.becomes), "note": r.note}
            for r in self.queue.said(recording, name)
            if r.role == "annotation"
        ]

    def example(self, label: str) -> Plain | None:
        """A cue of a label that people accepted, else the one its labeler is surest of."""
        found = self.catalog.surest(label)
        return self.item(*found, "chosen") if found is not None else None

    def last(self, annotator: str) -> Plain:
        """What an undo of this annotator would take back, with its item; nothing where there is nothing."""
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
        """Keep decisions durably, all or none.

        Raises:
            UsageError, FormatError: one of them cannot be meant; nothing is kept.
            StorageError: the disk refuses; nothing is kept.
        """
        self.refresh()
        made: dict[str, Review] = {}
        for one in plain:
            review = self._review(annotator, one, made)
            made[review.id] = review
        kept = self.store.add(list(made.values()))
        for review in kept:
            self.queue.take(review)
            logger.info(
                "review seq=%d annotator=%r verdict=%s about=%s item=%s recording=%s from=%s",
                *(
                    review.sequence,
                    annotator,
                    review.verdict,
                    review.about,
                    review.item,
                    review.recording[:20],
                    where,
                ),
            )
        return kept

    def _review(self, annotator: str, one: Mapping[str, Any], before: Mapping[str, Review]) -> Review:
        verdict, about = one.get("verdict"), one.get("about", "cue")
        recording, item = str(one.get("recording", "")), str(one.get("item", ""))
        judged, around = None, tuple[Turn, ...]()
        if verdict == "undo":
            undone = str(one.get("undoes", ""))
            target = before.get(undone) or self.queue.of(undone)  # what it undoes may come in the same batch
            if target is None or target.annotator != annotator:
                raise UsageError("there is nothing of yours to undo under this id")
            recording, item = target.recording, target.item
        elif verdict != "add":
            judged, around = self._judged(recording, str(about), item)
        recorded = self.catalog.recorded(recording)
        if recorded is None and judged is None and verdict != "undo":
            raise UsageError(
                "no such recording in this dataset", todo="reload the page: it may have been rebuilt"
            )
        becomes = from_plain(tuple[Judged, ...], one.get("becomes", []), where="becomes")
        for part in becomes:
            self._check(part, recorded, judged)
        if verdict == "add" and becomes:
            span = span_of(becomes[0])
            around = self._around(recording, span.start_us if span else 0, span.stop_us if span else 0)
        plain = {
            "id": one.get("id"), "recording": recording, "item": item, "verdict": verdict,
            "annotator": annotator, "role": one.get("role", "annotation"), "draw": one.get("draw", "chosen"),
            "note": one.get("note", ""), "client_at_us": one.get("client_at_us", 0),
            "spent_ms": one.get("spent_ms", 0), "undoes": one.get("undoes", ""),
            "decided_at_us": time.time_ns() // 1000, "judged": None,
        }  # fmt: skip
        plain["becomes"] = to_plain(becomes)
        plain["judged"] = to_plain(judged)
        review = from_plain(Review, plain, where="review")
        if len(review.id) > 64 or len(item) > 64:
            raise FormatError("an id has at most 64 characters")
        return replace(review, around=around)

    def _check(self, part: Judged, recorded: Recorded | None, judged: Judged | None) -> None:
        span, speaker = span_of(part), speaker_of(part)
        duration_us = recorded.duration_us if recorded is not None else None
        if span is not None and (
            span.start_us < 0 or (duration_us is not None and span.stop_us > duration_us)
        ):
            raise UsageError("the span lies outside the recording")
        if span is not None and span.duration_us == 0 and part.about in ("turn", "cue"):
            before = span_of(judged) if judged is not None else None
            if before is None or before.duration_us:
                raise UsageError("the span is empty")
        if speaker is not None and (not speaker.strip() or len(speaker) > 64 or not speaker.isprintable()):
            raise UsageError("a speaker's name has 1 to 64 printable characters")
        known = recorded is None or speaker is None or speaker in recorded.speakers
        if part.about == "cue" and not known:
            raise UsageError(f"nobody called {speaker!r} speaks in this recording")

    def _judged(self, recording: str, about: str, item: str) -> tuple[Judged, tuple[Turn, ...]]:
        """What an id means: as it was handed out, else as the catalog has it now."""
        with self._lock:
            handed = self._handed.get((recording, about, item))
        if handed is not None:
            return handed
        judged_now: Judged | None = None
        if about == "cue":
            cue: Cue | None = self.catalog.cue(recording, item)
            judged_now = Judged(cue=cue) if cue is not None else None
        elif about == "speaker":
            recorded = self.catalog.recorded(recording)
            if recorded is not None and item in recorded.speakers:
                turns = self.catalog.turns(recording, 0, recorded.duration_us)
                return Judged(speaker=item), tuple(replace(t, id="") for t in turns[:5000])
        if judged_now is None:
            raise UsageError(
                f"no {about} {item!r} in this dataset",
                todo="reload the page: the dataset may have been rebuilt",
            )
        span = span_of(judged_now)
        assert span is not None
        return judged_now, self._around(recording, span.start_us, span.stop_us)

    def _around(self, recording: str, start_us: int, stop_us: int) -> tuple[Turn, ...]:
        turns = self.catalog.turns(recording, max(0, start_us - HEARD_US), stop_us + HEARD_US)
        return tuple(replace(turn, id="") for turn in turns[:_MOST_AROUND])

    def _remember(self, recording: str, parts: Sequence[Judged], around: tuple[Turn, ...]) -> None:
        """What was handed out can be judged also when a build has changed it meanwhile."""
        with self._lock:
            for part in parts:
                content = content_of(part)
                if content is not None:
                    self._handed[recording, part.about, content.id] = (part, around)
            while len(self._handed) > _REMEMBERED:
                self._handed.popitem(last=False)


def _stretch(span: Span, duration_us: int) -> tuple[int, int]:
    """Whole windows from two seconds before a cue to two seconds after it, of half a minute at most."""
    from_us = max(0, span.start_us - AROUND_US) // WINDOW_US * WINDOW_US
    to_us = min(span.stop_us + AROUND_US, span.start_us + _LONGEST_US)
    last_us = duration_us // WINDOW_US * WINDOW_US
    return from_us, max(from_us + WINDOW_US, min(-(-to_us // WINDOW_US) * WINDOW_US, last_us))
