"""Shared parts of the writers: utterances with their words, valid names, and Drops for what does not fit."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from corpus.align.attribute import WORDS_BRIDGE_US, turns_of_words
from corpus.align.marks import BRACES, opens_mark, spoken
from corpus.schemas.conversation import Conversation, Turn, Word
from corpus.schemas.drops import Drop
from corpus.schemas.span import Span

_NO_WORDS = "[speech]"
"""The text of a turn without words, for forms that need one: a mark, which readers leave out."""
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ufffe\uffff]")


@dataclass(frozen=True, slots=True)
class Said:
    """A turn and the words in it."""

    speaker: str
    span: Span
    words: tuple[Word, ...]

    @property
    def text(self) -> str:
        return " ".join(written(word) for word in self.words) or _NO_WORDS


def left_out(talk: Conversation, code: str, reason: str, count: int) -> list[Drop]:
    """A Drop for something that the format cannot hold; none if there is nothing to drop."""
    reason = f"{talk.recording}: {count} {reason}"
    drop = Drop(item=talk.recording, stage="write", kind="trim", code=code, reason=reason, count=count)
    return [drop] if count else []


def without_place(talk: Conversation, *parts: str) -> list[Drop]:
    """Drops for lists that the format cannot hold; only conversation JSON can hold cues."""
    drops: list[Drop] = []
    for part in (*parts, "cues"):
        drops += left_out(
            talk, f"{part}_have_no_place", f"{part} have no place in the format", len(getattr(talk, part))
        )
    if "events" not in parts:
        drops += left_out(
            talk, "events_have_no_place", "events have no place in the format", len(talk.events)
        )
    return drops


def written(word: Word) -> str:
    """The word with its punctuation as one token."""
    return "_".join(_clean(word.text + word.after).split())


def _clean(text: str) -> str:
    """Without control characters, which neither lines nor XML can hold."""
    return _CONTROLS.sub(" ", text)


def sound_words(talk: Conversation) -> tuple[list[Word], list[Drop]]:
    """The words with times and letters in order of time; Drops for others and for what reads as marks."""
    timed = [word for word in talk.words if word.span is not None]
    kept = sorted(
        (word for word in timed if written(word)), key=lambda word: (word.start_us or 0, word.stop_us or 0)
    )
    marks = sum(_looks_like_a_mark(written(word)) for word in kept)
    parted = sum(len(_clean(word.text + word.after).split()) > 1 for word in kept)
    return kept, [
        *left_out(
            talk, "word_without_times", "words have no times and are left out", len(talk.words) - len(timed)
        ),
        *left_out(talk, "empty_word", "words have no letters and are left out", len(timed) - len(kept)),
        *left_out(talk, "looks_like_a_mark", "words look like marks and will not be read as words", marks),
        *left_out(talk, "word_with_spaces", "words hold spaces, written as _", parted),
    ]


def _looks_like_a_mark(token: str) -> bool:
    return token in BRACES or spoken(token) != token or opens_mark(token)


def utterances(talk: Conversation) -> tuple[list[Said], list[Drop]]:
    """The turns with their words in order; words outside their speaker's turns make turns of their own."""
    words, drops = sound_words(talk)
    turns = sorted((turn for turn in talk.turns if turn.span), key=lambda turn: (turn.start_us, turn.stop_us))
    drops += left_out(talk, "empty_turn", "turns last 0 s and are left out", len(talk.turns) - len(turns))
    by_speaker: dict[str, list[Turn]] = {}
    for turn in turns:
        by_speaker.setdefault(turn.speaker, []).append(turn)
    inside: dict[int, list[Word]] = {}
    stray: list[Word] = []
    for word in words:
        own = by_speaker.get(word.speaker, [])
        at = bisect_right(own, word.start_us or 0, key=lambda turn: turn.start_us) - 1
        while at > 0 and (word.start_us or 0) >= own[at].stop_us:
            at -= 1
        if at >= 0 and (word.start_us or 0) < own[at].stop_us:
            inside.setdefault(id(own[at]), []).append(word)
        else:
            stray.append(word)
    drops += left_out(
        talk, "word_outside_turn", "words lie outside the turns and make turns of their own", len(stray)
    )
    said = [Said(turn.speaker, turn.span, tuple(inside.get(id(turn), ()))) for turn in turns]
    lost = len(stray)
    strays: dict[str, list[Word]] = {}
    for word in stray:
        strays.setdefault(word.speaker, []).append(word)
    for turn in turns_of_words(stray, WORDS_BRIDGE_US):
        own_words = strays[turn.speaker]
        first, last = (
            bisect_left(own_words, time_us, key=lambda word: word.start_us or 0)
            for time_us in (turn.start_us, turn.stop_us)
        )
        said.append(Said(turn.speaker, turn.span, tuple(own_words[first:last])))
        lost -= last - first
    drops += left_out(talk, "empty_word", "words outside the turns last 0 s and are left out", lost)
    return sorted(said, key=lambda each: (each.span, each.speaker)), drops


def fitting(talk: Conversation, fit: Callable[[str], str]) -> tuple[dict[str, str], list[Drop]]:
    """Every speaker's name in a form the format can hold, all different; a Drop lists those changed."""
    names: dict[str, str] = {}
    for speaker in talk.speakers:
        base = name = fit(_clean(speaker)).strip() or "unknown"
        number = 1
        while name in names.values():
            number += 1
            name = f"{base}_{number}"
        names[speaker] = name
    changed = {old: new for old, new in names.items() if old != new}
    renamings = ", ".join(f"{old!r} is {new!r}" for old, new in changed.items())
    return names, left_out(
        talk, "renamed", f"speakers are written under other names: {renamings}", len(changed)
    )


def one_token(name: str) -> str:
    """A name without spaces, for formats with fields separated by spaces."""
    return "_".join(name.split())


def file_id(talk: Conversation) -> str:
    """The recording's name as a line's first field; `;` and `#` would begin a comment."""
    return one_token(_clean(talk.recording)).lstrip(";#") or "recording"


def seconds_text(us: int) -> str:
    """Seconds with three decimals, more where they are needed."""
    whole, rest = divmod(us, 1_000_000)
    decimals = f"{rest:06d}"
    return f"{whole}.{decimals[:3]}{decimals[3:].rstrip('0')}"


def round_ms(us: int) -> int:
    """Milliseconds, a half rounded up."""
    return (us + 500) // 1000


def layers(spans: Iterable[Said] | Iterable[Word]) -> list[list[Said | Word]]:
    """As few rows as the order of start allows, in which nothing overlaps."""
    rows: list[list[Said | Word]] = []
    for item in sorted(spans, key=_times):
        row = next((row for row in rows if _times(row[-1])[1] <= _times(item)[0]), None)
        if row is None:
            rows.append([item])
        else:
            row.append(item)
    return rows


def _times(item: Said | Word) -> tuple[int, int]:
    span = item.span
    return (span.start_us, span.stop_us) if span is not None else (0, 0)


def lines(rows: Sequence[str]) -> str:
    return "".join(row + "\n" for row in rows)
