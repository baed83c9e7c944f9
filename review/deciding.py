"""Turning what a client sends into a Review, checked against the dataset and what was handed out."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from corpus.review.corpus import Catalog, Recorded
from corpus.schemas.codec import from_plain, to_plain
from corpus.schemas.conversation import Turn
from corpus.schemas.errors import FormatError, UsageError
from corpus.schemas.review import Judged, Review
from corpus.schemas.votes import content_of, span_of, speaker_of

HEARD_US = 10_000_000
"""Turns this close to an item are stored with its review, to find the speakers again."""
_MOST_AROUND = 200
_MOST_OF_SPEAKER = 5_000
_REMEMBERED = 100_000
_LONGEST_ID = 64

_Found = tuple[Judged, tuple[Turn, ...]]
"""An item as it is judged, and who talks around it."""


class Handed:
    """An item that was handed out: it can be judged even if a build has changed it since."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: OrderedDict[tuple[str, str, str], _Found] = OrderedDict()

    def remember(self, recording: str, parts: Sequence[Judged], around: tuple[Turn, ...]) -> None:
        with self._lock:
            for part in parts:
                content = content_of(part)
                if content is not None:
                    self._found[recording, part.about, content.id] = (part, around)
            while len(self._found) > _REMEMBERED:
                self._found.popitem(last=False)

    def of(self, recording: str, about: str, item: str) -> _Found | None:
        with self._lock:
            return self._found.get((recording, about, item))


def around_of(turns: Sequence[Turn]) -> tuple[Turn, ...]:
    """The turns to store with a review."""
    return tuple(replace(turn, id="") for turn in turns[:_MOST_AROUND])


def turns_near(catalog: Catalog, recording: str, start_us: int, stop_us: int) -> list[Turn]:
    return catalog.turns(recording, max(0, start_us - HEARD_US), stop_us + HEARD_US)


def read_review(
    annotator: str,
    asked: Mapping[str, Any],
    *,
    catalog: Catalog,
    handed: Handed,
    known: Callable[[str], Review | None],
) -> Review:
    """The review sent by a client; `known` looks up the review named in an undo.

    Raises:
        UsageError, FormatError: the review is invalid.
    """
    verdict, about = asked.get("verdict"), str(asked.get("about", "cue"))
    recording, item = str(asked.get("recording", "")), str(asked.get("item", ""))
    judged, around = None, tuple[Turn, ...]()
    if verdict == "undo":
        target = known(str(asked.get("undoes", "")))
        if target is None or target.annotator != annotator:
            raise UsageError("you have no decision with this id to undo")
        recording, item = target.recording, target.item
    elif verdict != "add":
        judged, around = _judged(catalog, handed, recording, about, item, asked.get("judged"))
    recorded = catalog.recorded(recording)
    if recorded is None and verdict == "add":
        raise UsageError(
            "no such recording in this dataset", todo="reload the page: it may have been rebuilt"
        )
    becomes = from_plain(tuple[Judged, ...], asked.get("becomes", []), where="becomes")
    for part in becomes:
        _check(part, recorded, judged)
    if verdict == "add" and becomes and (span := span_of(becomes[0])) is not None:
        around = around_of(turns_near(catalog, recording, span.start_us, span.stop_us))
    plain = {
        "id": asked.get("id"), "recording": recording, "item": item, "verdict": verdict,
        "annotator": annotator, "role": asked.get("role", "annotation"), "draw": asked.get("draw", "chosen"),
        "note": asked.get("note", ""), "client_at_us": asked.get("client_at_us", 0),
        "spent_ms": asked.get("spent_ms", 0), "undoes": asked.get("undoes", ""),
        "decided_at_us": time.time_ns() // 1000, "judged": to_plain(judged), "becomes": to_plain(becomes),
    }  # fmt: skip
    review = from_plain(Review, plain, where="review")
    if len(review.id) > _LONGEST_ID or len(item) > _LONGEST_ID:
        raise FormatError(f"an id has at most {_LONGEST_ID} characters")
    return replace(review, around=around)


def _judged(catalog: Catalog, handed: Handed, recording: str, about: str, item: str, given: object) -> _Found:
    """What an id means: as it was handed out, else as the catalog has it, else as the client had it."""
    shown = handed.of(recording, about, item)
    if shown is not None:
        return shown
    recorded = catalog.recorded(recording)
    if about == "speaker" and recorded is not None and item in recorded.speakers:
        turns = catalog.turns(recording, 0, recorded.duration_us)[:_MOST_OF_SPEAKER]
        return Judged(speaker=item), tuple(replace(turn, id="") for turn in turns)
    judged = _in_catalog(catalog, recording, about, item)
    if judged is None and given is not None:  # shown by a server that has since stopped; rebuilt meanwhile
        judged = from_plain(Judged, given, where="judged")
        content = content_of(judged)
        if judged.about != about or (content is not None and content.id != item):
            raise UsageError(f"the judged item is not {about} {item!r}")
    span = span_of(judged) if judged is not None else None
    if judged is None or span is None:
        raise UsageError(
            f"no {about} {item!r} in this dataset", todo="reload the page: the dataset may have been rebuilt"
        )
    return judged, around_of(turns_near(catalog, recording, span.start_us, span.stop_us))


def _in_catalog(catalog: Catalog, recording: str, about: str, item: str) -> Judged | None:
    if about == "cue" and (cue := catalog.cue(recording, item)) is not None:
        return Judged(cue=cue)
    if about == "turn" and (turn := catalog.turn(recording, item)) is not None:
        return Judged(turn=turn)
    if about == "word" and (word := catalog.word(recording, item)) is not None:
        return Judged(word=word)
    return None


def _check(part: Judged, recorded: Recorded | None, judged: Judged | None) -> None:
    """Raises UsageError where an item cannot be in its recording."""
    span, speaker = span_of(part), speaker_of(part)
    duration_us = recorded.duration_us if recorded is not None else None
    if span is not None and (span.start_us < 0 or (duration_us is not None and span.stop_us > duration_us)):
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
