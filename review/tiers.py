"""Cues, words and turns as tiers of marks for ELAN and Praat, and people's changes to them as reviews.

`SHOWN_FILE` beside the files records what they showed: this is needed to find what was changed, removed or
added, even if the dataset has been rebuilt since.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from corpus.review.deciding import HEARD_US, around_of
from corpus.schemas.codec import to_json
from corpus.schemas.conversation import CUE_KINDS, Cue, Turn, Word
from corpus.schemas.errors import FormatError
from corpus.schemas.review import Review
from corpus.schemas.span import Span
from corpus.schemas.votes import judged, shared

SHOWN_FILE = "corpus-shown.json"
SHOWN_FORM = "corpus.review_shown/1"
_NOBODY = "nobody"
"""In a tier's name, of what is nobody's."""
_SAME_US = 1_000
"""ELAN keeps whole milliseconds."""

_NOT_XML = re.compile("[\x00-\x08\x0b-\x1f\ufffe\uffff]")

_Item = Cue | Word | Turn


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A mark on a tier."""

    start_us: int
    stop_us: int
    text: str


Tiers = dict[str, list[Mark]]
_Place = tuple[str | None, str]
"""Speaker, and a label, `words` or `turns`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What a file showed of a recording when it was exported."""

    file: str
    """The file's name without extension."""
    recording: str
    uri: str
    duration_us: int
    speakers: tuple[str, ...]
    cues: tuple[Cue, ...]
    words: tuple[Word, ...]
    turns: tuple[Turn, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownFolder:
    schema: str = SHOWN_FORM
    form: str
    """`eaf` or `textgrid`."""
    recordings: tuple[Shown, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """The result of reading a file."""

    reviews: list[Review]
    passed_over: list[str]
    """Tiers that we did not write."""


# -- out --------------------------------------------------------------------------------------


def tiers_of(shown: Shown) -> Tiers:
    """One tier for each speaker and label; if two marks in it overlap, the later moves to another tier."""
    places: dict[_Place, list[_Item]] = {
        (name, what): [] for name in shown.speakers for what in _whats(shown)
    }
    for item in _items(shown):
        places.setdefault(_place(item), []).append(item)
    tiers: Tiers = {}
    for place, items in places.items():
        name = _name(place)
        tiers[name] = []
        for item in sorted(items, key=lambda i: (i.start_us or 0, i.stop_us or 0)):
            assert item.start_us is not None and item.stop_us is not None
            row = 1
            while (tier := tiers.setdefault(_row(name, row), [])) and tier[-1].stop_us > item.start_us:
                row += 1
            tier.append(Mark(start_us=item.start_us, stop_us=item.stop_us, text=_text(item)))
    return tiers


def showable(item: _Item) -> bool:
    """Whether the item has times and lasts at least a millisecond, as a mark must."""
    return item.start_us is not None and item.stop_us is not None and item.stop_us - item.start_us >= _SAME_US


def _items(shown: Shown) -> list[_Item]:
    return [*shown.turns, *shown.words, *shown.cues]


def _whats(shown: Shown) -> list[str]:
    return ["turns", "words", *sorted({cue.label for cue in shown.cues if cue.speaker is not None})]


def _place(item: _Item) -> _Place:
    what = item.label if isinstance(item, Cue) else "words" if isinstance(item, Word) else "turns"
    return item.speaker, what


def _name(place: _Place) -> str:
    return f"{_NOBODY if place[0] is None else in_xml(place[0])}: {place[1]}"


def in_xml(text: str) -> str:
    """The text with characters that XML cannot hold written as escapes; also used for Praat's files."""
    return _NOT_XML.sub(lambda found: found.group().encode("unicode_escape").decode(), text)


def _row(name: str, row: int) -> str:
    return name if row == 1 else f"{name} {row}"


def _text(item: _Item) -> str:
    if isinstance(item, Cue):
        return item.kind or item.label
    return in_xml(item.text) if isinstance(item, Word) else "talks"


# -- and in -----------------------------------------------------------------------------------


def reviews_of(
    shown: Shown,
    tiers: Mapping[str, Sequence[Mark]],
    *,
    annotator: str,
    now_us: int,
    undone: Iterable[str] = (),
) -> Read:
    """People's changes as reviews; unchanged marks give none. `undone` ids are not reused.

    Raises:
        FormatError: a mark is invalid.
    """
    marks: dict[_Place, list[Mark]] = defaultdict(list)
    passed_over = []
    for name, marked in tiers.items():
        place = _place_of(name, shown)
        if place is None:
            passed_over.append(name)
        else:
            marks[place] += marked
    items: dict[_Place, list[_Item]] = defaultdict(list)
    for item in _items(shown):
        items[_place(item)].append(item)
    reviews: list[Review] = []
    taken_back = set(undone)
    for place in sorted(marks, key=_name):  # a tier that is not there says nothing of its items
        for before, mark in _pairs(items[place], marks[place]):
            try:
                after = _after(place, before, mark, annotator, shown.duration_us)
                if after != before:
                    reviews.append(_review(shown, before, after, annotator, now_us, taken_back))
            except ValueError as error:
                at = mark or before
                assert at is not None
                where = f"{shown.file}, tier {_name(place)!r} at {(at.start_us or 0) / 1e6:.3f} s"
                raise FormatError(str(error), where=where) from error
    return Read(reviews=reviews, passed_over=passed_over)


def _place_of(name: str, shown: Shown) -> _Place | None:
    speaker, colon, what = name.rpartition(": ")
    what = what.rstrip("0123456789").rstrip()
    if not colon or (what not in ("words", "turns") and what not in CUE_KINDS):
        return None
    names = {in_xml(each): each for each in shown.speakers}
    if speaker not in names and speaker != _NOBODY:
        raise FormatError(f"tier {name!r}: no speaker is called {speaker!r}", where=shown.file)
    return names.get(speaker), what


def _pairs(items: Sequence[_Item], marks: Sequence[Mark]) -> list[tuple[_Item | None, Mark | None]]:
    """Each item with its mark: the same place first, then what shares most, half of the union at least."""
    spans = [_span(item) for item in items]
    order = sorted(range(len(items)), key=lambda n: spans[n].start_us)
    starts = [spans[n].start_us for n in order]
    longest_us = max((span.duration_us for span in spans), default=0)
    near = []
    for m, mark in enumerate(marks):
        span = _span(mark)
        for n in order[bisect_left(starts, span.start_us - longest_us) : bisect_left(starts, span.stop_us)]:
            near.append((-shared(spans[n], span), abs(spans[n].start_us - span.start_us), n, m))
    near.sort()
    taken: dict[int, int] = {}
    used: set[int] = set()
    for share, _, n, m in near:
        if -share >= 0.5 and n not in taken and m not in used:
            taken[n] = m
            used.add(m)
    pairs: list[tuple[_Item | None, Mark | None]] = [
        (item, marks[taken[n]] if n in taken else None) for n, item in enumerate(items)
    ]
    return pairs + [(None, mark) for m, mark in enumerate(marks) if m not in used]


def _span(item: _Item | Mark) -> Span:
    return Span(item.start_us or 0, item.stop_us or 0)


def _after(
    place: _Place, before: _Item | None, mark: Mark | None, annotator: str, duration_us: int
) -> _Item | None:
    """What the item should be: as it was where nothing was changed, None where it was taken out."""
    if mark is None:
        return None
    if mark.stop_us > duration_us + _SAME_US:
        raise ValueError("is after the end of the recording")
    return _new(place, mark, annotator) if before is None else _changed(before, mark)


def _new(place: _Place, mark: Mark, annotator: str) -> _Item:
    speaker, what = place
    text = mark.text.strip()
    if what == "turns" or what == "words":
        if speaker is None:
            raise ValueError("a word and a turn need a speaker")
        if what == "turns":
            return Turn(speaker=speaker, start_us=mark.start_us, stop_us=mark.stop_us)
        return Word(speaker=speaker, start_us=mark.start_us, stop_us=mark.stop_us, text=text)
    return Cue(
        label=what, kind="" if text == what else text, speaker=speaker, start_us=mark.start_us,
        stop_us=mark.stop_us, confidence=1.0, origin=f"human:{annotator}",
    )  # fmt: skip


def _changed(item: _Item, mark: Mark) -> _Item:
    """The item as the mark says; ends that were not moved keep their place to the microsecond."""
    was = _span(item)
    start_us = was.start_us if abs(was.start_us - mark.start_us) <= _SAME_US else mark.start_us
    stop_us = was.stop_us if abs(was.stop_us - mark.stop_us) <= _SAME_US else mark.stop_us
    moved = (start_us, stop_us) != (was.start_us, was.stop_us)
    text = mark.text.strip()
    if isinstance(item, Cue):
        kind = "" if text == item.label else text
        if not moved and kind == item.kind:
            return item
        return dataclasses.replace(item, kind=kind, start_us=start_us, stop_us=stop_us)
    if isinstance(item, Word):
        same = text == in_xml(item.text).strip()
        if not moved and same:
            return item
        text = item.text if same else text
        timing = "measured" if moved else item.timing
        return dataclasses.replace(item, text=text, start_us=start_us, stop_us=stop_us, timing=timing)
    return dataclasses.replace(item, start_us=start_us, stop_us=stop_us) if moved else item


def _review(
    shown: Shown, before: _Item | None, after: _Item | None, annotator: str, now_us: int, undone: set[str]
) -> Review:
    """The same change has the same id, however often it is read: so it is kept once."""
    about = after or before
    assert about is not None
    becomes = (judged(dataclasses.replace(after, id="")),) if after is not None else ()
    was = judged(before) if before is not None else None
    identity = "\n".join((annotator, shown.recording, to_json(was), to_json(becomes)))
    id_ = hashlib.sha256(identity.encode()).hexdigest()[:32]
    while id_ in undone:  # taken back once, and now meant again
        id_ = hashlib.sha256(id_.encode()).hexdigest()[:32]
    near = [t for t in shown.turns if t.start_us < _span(about).stop_us + HEARD_US]
    around = around_of([t for t in near if t.stop_us > _span(about).start_us - HEARD_US])
    return Review(
        id=id_, recording=shown.recording, item=before.id if before is not None else f"a{id_[:15]}",
        verdict="add" if was is None else "correct" if becomes else "reject", judged=was, becomes=becomes,
        around=around, annotator=annotator, draw="imported", decided_at_us=now_us,
    )  # fmt: skip
