"""Collecting an annotation file's items: each is checked, and only the bad ones are left out."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal

from corpus.align.annotation import Annotation
from corpus.align.attribute import WORDS_BRIDGE_US, turns_of_words
from corpus.align.formats.stm import spread
from corpus.align.marks import spoken, spoken_words
from corpus.align.parsing import (
    LineError,
    clip,
    clipped_drop,
    drop_at,
    seconds,
    sound_span,
    split_punctuation,
)
from corpus.align.values import check_text, speaker_name
from corpus.schemas.conversation import Event, Turn, Word
from corpus.schemas.drops import Drop
from corpus.schemas.span import Span

_LONGEST_S = 10**12


@dataclass(slots=True)
class Gathered:
    """The items read so far."""

    file: str
    duration_us: int
    turns: list[Turn] = field(default_factory=list)
    words: list[Word] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    drops: list[Drop] = field(default_factory=list)
    _starts: dict[str, list[int]] = field(default_factory=dict)
    _indexed: int = 0
    """How many of the words are in `_starts`."""

    @contextmanager
    def item(self, place: str) -> Iterator[None]:
        """An error inside drops the item at this place, and nothing else."""
        try:
            yield
        except LineError as error:
            self.drops.append(drop_at(place, error.code, str(error)))

    def tell(self, place: str, code: str, reason: str) -> None:
        """Report something that is left out as expected."""
        self.drops.append(drop_at(place, code, reason, "trim"))

    def inside(self, place: str, start_us: int, stop_us: int) -> Span:
        """The part of a span that lies in the recording; raises LineError if there is none."""
        whole = sound_span(start_us, stop_us)
        kept = clip(whole, self.duration_us)
        if kept != whole:
            self.drops.append(clipped_drop(place, whole, self.duration_us))
        return kept

    def utterance(self, place: str, speaker: str, start_us: int, stop_us: int, text: str) -> None:
        """Add a turn, if somebody is named, and its words spread over it; raises LineError."""
        if stop_us == start_us:
            raise LineError("empty_turn", "the utterance lasts 0 s")
        span = self.inside(place, start_us, stop_us)
        words = self.spoken(place, text)
        if speaker:
            self.turn(speaker, span)
        self.words += spread(words, speaker, span)

    def word_starts(self) -> dict[str, list[int]]:
        """When the words read so far begin, by speaker; valid until the next call."""
        # Called once a tier, and a file may have thousands: only what is new since the last call is put in.
        for word in self.words[self._indexed :]:
            insort(self._starts.setdefault(word.speaker, []), word.start_us or 0)
        self._indexed = len(self.words)
        return self._starts

    def turn(self, speaker: str, span: Span) -> None:
        name = speaker_name(speaker)
        self.turns.append(Turn(speaker=name, start_us=span.start_us, stop_us=span.stop_us))

    def word(
        self,
        place: str,
        speaker: str,
        start_us: int,
        stop_us: int,
        text: str,
        confidence: float | None = None,
    ) -> None:
        """Add a word at its own times; a text of several words is spread over them. Raises LineError."""
        name = speaker_name(speaker) if speaker else ""
        span = self.inside(place, start_us, stop_us)
        pieces = self.spoken(place, text)
        if len(pieces) > 1:
            self.words += spread(pieces, name, span)
        for piece in pieces if len(pieces) == 1 else ():
            self.words.append(_written_word(piece, name, span, confidence))

    def spoken(self, place: str, text: str) -> list[str]:
        """The words of a text; marks among them are reported."""
        check_text(text)
        words, left = spoken_words(text.split())
        if left:
            self.tell(place, "no_word", f"{' '.join(left)[:80]!r}: sounds, marks or other readings")
        return words

    def annotation(self) -> Annotation:
        """Everything in order of time; None for turns or words that the file does not have."""
        talkers = {turn.speaker for turn in self.turns}
        silent = [word for word in self.words if word.speaker not in talkers] if talkers else []
        turns_found = [*self.turns, *turns_of_words(silent, WORDS_BRIDGE_US)]
        turns = sorted(
            dict.fromkeys(turns_found), key=lambda turn: (turn.start_us, turn.stop_us, turn.speaker)
        )
        words = sorted(self.words, key=lambda word: word.start_us or 0)
        return Annotation(
            turns=tuple(turns) or None,
            words=tuple(words) or None,
            events=tuple(self.events),
            used=(self.file,) if turns or words or self.events else (),
        )


def _written_word(raw: str, speaker: str, span: Span, confidence: float | None) -> Word:
    """A word of a file at times of its own."""
    text, after = split_punctuation(raw)
    return Word(
        speaker=speaker,
        start_us=span.start_us,
        stop_us=span.stop_us,
        text=text,
        after=after,
        confidence=confidence,
    )


def has_words(starts: dict[str, list[int]], speaker: str, start_us: int, stop_us: int) -> bool:
    """Whether a word of the speaker, or without a speaker, begins inside."""
    for name in (speaker, ""):
        of_speaker = starts.get(name, [])
        at = bisect_left(of_speaker, start_us)
        if at < len(of_speaker) and of_speaker[at] < stop_us:
            return True
    return False


def is_word(text: str) -> bool:
    """True for one written word that is not a mark."""
    return len(text.split()) == 1 and spoken(text.strip()) is not None


def json_us(value: object, name: str) -> int:
    """Microseconds of a JSON number of seconds, taken as the decimal it shows; raises LineError."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise LineError("not_a_number", f"{name} is {str(value)[:40]!r}, not a number of seconds")
    if not abs(value) < _LONGEST_S:
        raise LineError("not_a_number", f"{name} is {str(value)[:40]}, not a number of seconds")
    return seconds(format(Decimal(repr(value)), "f"), name)


def json_speaker(value: object) -> str:
    """A name, a number as a name, "" for none; raises LineError."""
    if value is None or value == "":
        return ""
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise LineError("unknown_speaker", f"{str(value)[:40]!r} is not a speaker's name")
    return speaker_name(value if isinstance(value, str) else str(value)[:40])


def json_text(value: object) -> str:
    """A text; raises LineError."""
    if not isinstance(value, str):
        raise LineError("malformed", f"the text is {str(value)[:40]!r}")
    return value


def json_confidence(value: object) -> float | None:
    """A probability, None for anything else."""
    return float(value) if isinstance(value, (int, float)) and 0 <= value <= 1 else None
