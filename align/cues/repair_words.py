"""The words in which self-corrections are looked for: one speaker's stretches of talk without fillers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from corpus.align.cues.filled_pause import FILLERS, HUMS
from corpus.schemas.arrays import Int64Array
from corpus.schemas.conversation import Conversation, Word
from corpus.schemas.turn_taking import normal

_STRETCH_GAP_US = 2_000_000
"""After a silence this long one does not go back to repair."""
CLASSES: dict[str, tuple[str, ...]] = {
    "subject": ("i", "you", "he", "she", "it", "we", "they", "that", "this", "there", "who", "what"),
    "contracted": ("i'm", "i've", "i'll", "it's", "that's", "we're", "we've", "you're", "they're", "there's"),
    "determiner": ("the", "a", "an", "my", "your", "our", "their", "his", "her", "its", "these", "those"),
    "preposition": ("of", "in", "on", "at", "for", "with", "from", "by", "about", "into", "as", "to"),
    "auxiliary": ("is", "are", "was", "were", "be", "been", "have", "has", "had", "do", "does", "did"),
    "modal": ("can", "could", "will", "would", "should", "shall", "may", "might", "must", "don't", "gonna"),
    "conjunction": ("and", "or", "but", "so", "because", "'cause", "cause", "if", "when", "than", "then"),
    "editing": ("mean", "know", "sorry", "rather", "well", "like", "actually", "just"),
    "answer": ("yeah", "yes", "no", "okay", "ok", "right", "yep", "oh", "ah", "alright", "sure", "cool"),
    "number": ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "twenty"),
    "other": (),
}
_CLASS_OF = {word: place for place, words in enumerate(CLASSES.values()) for word in words}


@dataclass(frozen=True, slots=True)
class Said:
    """One speaker's timed words without fillers, in order, as parallel arrays and lists."""

    speaker: str
    words: tuple[Word, ...]
    texts: tuple[str, ...]
    stretch: Int64Array
    """Which stretch of talk each word is in."""
    kind: Int64Array
    """Index in `CLASSES`."""
    cut_off: Int64Array
    """1 if the word was broken off (`remo-`)."""
    capital: Int64Array
    """1 if the word begins with a capital letter, as sentences do; -1 if none of the speaker's words does."""
    fillers_before: Int64Array
    """How many fillers come just before."""
    mark: Int64Array
    """Punctuation after the word: 1 comma, 2 full stop, 3 question mark, 0 none; -1 if none of the speaker's
    words has any."""

    def __len__(self) -> int:
        return len(self.texts)


def said_by(conversation: Conversation) -> list[Said]:
    """Each speaker's words, by name; words without times cannot be ordered and are left out."""
    spoken: dict[str, list[Word]] = {name: [] for name in sorted(conversation.speakers)}
    for word in conversation.words:
        if word.start_us is not None:
            spoken[word.speaker].append(word)
    return [_said(name, _in_order(words)) for name, words in spoken.items() if words]


def _in_order(words: Sequence[Word]) -> list[Word]:
    return sorted(words, key=lambda w: (w.start_us or 0, w.stop_us or 0, w.text))


def _said(speaker: str, words: Sequence[Word]) -> Said:
    kept: list[Word] = []
    texts: list[str] = []
    columns: list[tuple[int, int, int, int, int, int]] = []
    stretch = fillers = last_us = 0
    for word in words:
        text = normal(word.text)
        assert word.start_us is not None and word.stop_us is not None
        stretch += word.start_us - last_us > _STRETCH_GAP_US
        last_us = max(last_us, word.stop_us)
        if text in FILLERS or text in HUMS or not text:
            fillers += 1
            continue
        kept.append(word)
        texts.append(text)
        cut = word.text.rstrip(".,?!").endswith("-")
        columns.append((stretch, word_class(text), cut, _capital(word.text), min(fillers, 3), _mark(word)))
        fillers = 0
    table = np.array(columns, np.int64).reshape(-1, 6)
    for written in (3, 5):  # a recogniser may write no capitals and no punctuation at all
        if not table[:, written].any():
            table[:, written] = -1
    return Said(speaker, tuple(kept), tuple(texts), *table.T)


def _mark(word: Word) -> int:
    written = word.after or word.text[-1:]
    return 3 if "?" in written else 2 if "." in written or "!" in written else int("," in written)


def _capital(text: str) -> bool:
    """ "I" has one anywhere, and letters that are read out too."""
    return text[:1].isupper() and "_" not in text and text != "I" and not text.startswith("I'")


def word_class(text: str) -> int:
    return _CLASS_OF.get(text, len(CLASSES) - 1)


def _pairs(said: Iterable[Said]) -> Iterable[tuple[str, str]]:
    """Every two words that follow each other in a stretch."""
    for one in said:
        same = one.stretch[1:] == one.stretch[:-1]
        yield from ((one.texts[i], one.texts[i + 1]) for i in np.flatnonzero(same))
