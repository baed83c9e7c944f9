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
from corpus.schemas.codec import from_plain, to_plain
from corpus.schemas.conversation import CUE_KINDS, Cue, Turn, Word
from corpus.schemas.errors import CorpusError, FormatError, UsageError
from corpus.schemas.review import Judged, Review
from corpus.schemas.votes import span_of, speaker_of

logger = logging.getLogger(__name__)

AROUND_US = 2_000_000
"""Shown before and after a cue."""
HEARD_US = 10_000_000
"""The turns this far around it are kept with a review, to find its speakers again."""
_REMEMBERED = 20_000

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
        """One cue with what is around it."""
        recorded, cue = self.catalog.recorded(recording), self.catalog.cue(recording, name)
        if recorded is None or cue is None:
            return None
        shown = self._shown(recorded, cue.start_us, cue.stop_us)
        self._remember(recording, "cue", name, Judged(cue=cue))
        for turn in shown["turns"]:
            self._handed_turn(recording, turn)
        for word in shown["words"]:
            judged = Judged(word=from_plain(Word, word))
            self._remember(recording, "word", str(word["id"]), judged)
        said = [
            {"annotator": r.annotator, "verdict": r.verdict, "becomes": to_plain(r.becomes), "note": r.note}
            for r in self.queue.said(recording, name)
            if r.role == "annotation"
        ]
        return {
            "recording": recording,
            "item": name,
            "draw": draw,
            "cue": to_plain(cue),
            "said": said if draw == "disagreement" else [],
            **shown,
        }

    def _shown(self, recorded: Recorded, start_us: int, stop_us: int) -> Plain:
        from_us = max(0, start_us - AROUND_US) // 200_000 * 200_000
        to_us = min(max(stop_us, start_us) + AROUND_US, start_us + 30_000_000)
        to_us = max(
            from_us + 200_000, min(-(-to_us // 200_000) * 200_000, recorded.duration_us // 200_000 * 200_000)
        )
        return {
            "uri": recorded.uri,
            "duration_us": recorded.duration_us,
            "speakers": list(recorded.speakers),
            "channels": list(self.media.channels(recorded.id)),
            "from_us": from_us,
            "to_us": to_us,
            "turns": to_plain(self.catalog.turns(recorded.id, from_us, to_us)),
            "words": to_plain(self.catalog.words(recorded.id, from_us, to_us)),
            "cues": to_plain(self.catalog.cues(recorded.id, from_us, to_us)),
            "outlines": self.media.outlines(recorded.id, from_us, to_us),
            "pictures": self.media.has_pictures(recorded.id),
        }

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
            judged, around = handed
            span = span_of(judged)
            return judged, around or self._around(recording, span.start_us, span.stop_us) if span else around
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
        return tuple(replace(turn, id="") for turn in turns[:200])

    def _handed_turn(self, recording: str, turn: Mapping[str, Any]) -> None:
        self._remember(recording, "turn", str(turn["id"]), Judged(turn=from_plain(Turn, turn)))

    def _remember(self, recording: str, about: str, item: str, judged: Judged) -> None:
        span = span_of(judged)
        around = self._around(recording, span.start_us, span.stop_us) if about == "cue" and span else ()
        with self._lock:
            self._handed[recording, about, item] = (judged, around)
            self._handed.move_to_end((recording, about, item))
            while len(self._handed) > _REMEMBERED:
                self._handed.popitem(last=False)
