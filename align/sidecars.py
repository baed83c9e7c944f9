"""Annotation files beside a media file: found by name, read, and put together.

Turns come from the conversation JSON, else RTTM, else STM, else from the words' own speakers.
Words come from the conversation JSON, else CTM, else STM. A file that gives nothing is reported.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from corpus.align.annotation import Annotation
from corpus.align.attribute import attribute_words, turns_of_words
from corpus.align.conversation_json import read_conversation
from corpus.align.ctm import read_ctm
from corpus.align.parsing import drop_at, summarise
from corpus.align.rttm import read_rttm
from corpus.align.stm import read_stm
from corpus.schemas.conversation import Turn, Word
from corpus.schemas.drops import Drop
from corpus.schemas.errors import FormatError, SidecarError

__all__ = ["Annotation", "find_sidecars", "read_sidecars"]

ENDINGS = (".json", ".json.gz", ".rttm", ".ctm", ".stm")
WORDS_BRIDGE_US = 200_000
"""One speaker's words with gaps up to this are one turn, where no file tells the turns."""


def find_sidecars(media: Path) -> list[Path]:
    """The annotation files of one media file: `x.rttm` and `x.mp4.rttm` of `x.mp4`, longer name first."""
    found: list[Path] = []
    for stem in dict.fromkeys((media.name, media.stem)):
        for ending in ENDINGS:
            for spelled in (ending, ending.upper()):
                path = media.with_name(stem + spelled)
                if path != media and _is_file(path) and not any(path.samefile(other) for other in found):
                    found.append(path)
    return found


def _is_file(path: Path) -> bool:
    """A name that is too long for a file system names no file."""
    try:
        return path.is_file()
    except OSError:
        return False


@dataclass(slots=True)
class _Read:
    """What each kind of file gave; the first of a kind counts."""

    duration_us: int
    drops: list[Drop] = field(default_factory=list)
    conversation: tuple[str, Annotation] | None = None
    rttm: tuple[str, tuple[Turn, ...]] | None = None
    ctm: tuple[str, tuple[Word, ...]] | None = None
    stm: tuple[str, tuple[Turn, ...], tuple[Word, ...]] | None = None

    def file(self, path: Path) -> None:
        ending = "json" if path.name.lower().endswith(".json.gz") else path.suffix.lower().lstrip(".")
        if getattr(self, "conversation" if ending == "json" else ending) is not None:
            self.unused(path.name, "another file of its kind was read before it")
        elif ending == "json":
            annotation, drops = read_conversation(path, self.duration_us)
            self.drops += drops
            self.conversation = (path.name, annotation) if annotation is not None else None
        elif ending == "rttm":
            turns, drops = read_rttm(path, self.duration_us)
            self.rttm = (path.name, turns) if self._says_something(path, bool(turns), drops) else None
        elif ending == "ctm":
            words, drops = read_ctm(path, self.duration_us)
            self.ctm = (path.name, words) if self._says_something(path, bool(words), drops) else None
        else:
            turns, words, drops = read_stm(path, self.duration_us)
            self.stm = (path.name, turns, words) if self._says_something(path, bool(turns), drops) else None

    def _says_something(self, path: Path, found: bool, drops: list[Drop]) -> bool:
        self.drops += drops
        if not found and not drops:
            self.unused(path.name, "it holds no line")
        return found

    def unused(self, name: str, why: str) -> None:
        self.drops.append(drop_at(name, "sidecar_unused", f"the file is not used: {why}", "trim"))


def read_sidecars(paths: Sequence[Path], duration_us: int) -> tuple[Annotation, list[Drop]]:
    """What the files say together, and a Drop for each line, item or file that is not used."""
    read = _Read(duration_us)
    for path in paths:
        if not path.name.lower().endswith(ENDINGS):
            read.unused(path.name, f"only {', '.join(ENDINGS)} are read")
            continue
        try:
            read.file(path)
        except (SidecarError, FormatError) as error:
            told = f"{error.what}; {error.todo}" if error.todo else error.what
            read.drops.append(drop_at(path.name, "sidecar_unreadable", told))
    return _joined(read), summarise(read.drops)


def _joined(read: _Read) -> Annotation:
    name, base = read.conversation or ("", Annotation())
    used = list(base.used)
    turns, words = base.turns, base.words
    turns_from = name
    if turns is None and read.rttm:
        turns_from, turns = read.rttm
        used.append(turns_from)
    elif read.rttm:
        read.unused(read.rttm[0], f"the turns come from {name}")
    words_from = name
    if words is None and read.ctm:
        words_from, words = read.ctm
        used.append(words_from)
    elif read.ctm:
        read.unused(read.ctm[0], f"the words come from {name}")
    if read.stm:
        turns, words = _with_stm(read, turns, words, used, turns_from, words_from)
    return _settled(read, replace(base, turns=turns, words=words, used=tuple(used)))


def _with_stm(
    read: _Read,
    turns: tuple[Turn, ...] | None,
    words: tuple[Word, ...] | None,
    used: list[str],
    turns_from: str,
    words_from: str,
) -> tuple[tuple[Turn, ...] | None, tuple[Word, ...] | None]:
    assert read.stm is not None
    name, stm_turns, stm_words = read.stm
    if turns is not None and words is not None:
        read.unused(name, f"the turns come from {turns_from} and the words from {words_from}")
        return turns, words
    used.append(name)
    return (stm_turns if turns is None else turns), (stm_words if words is None else words)


def _settled(read: _Read, annotation: Annotation) -> Annotation:
    """Turns and words that agree on who speaks."""
    turns, words = annotation.turns, annotation.words
    if words is not None and turns is None:
        turns = turns_of_words(words, WORDS_BRIDGE_US) or None
    if words is not None and turns is not None and not _agree(annotation, words):
        words, drops = attribute_words(words, turns)
        read.drops += drops
    names = dict.fromkeys((*annotation.speakers, *(turn.speaker for turn in turns or ())))
    if words is not None:
        names.update(dict.fromkeys(word.speaker for word in words if word.speaker))
    return replace(annotation, turns=turns, words=words, speakers=tuple(names))


def _agree(annotation: Annotation, words: Sequence[Word]) -> bool:
    """A conversation file's own words keep its speakers, also those who have no turn."""
    return {word.speaker for word in words} <= set(annotation.speakers)
