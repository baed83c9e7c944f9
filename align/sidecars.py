"""Annotation files beside a media file: found by name, read, and combined.

Among several files, the first in `TURNS_FROM` gives the turns and the first in `WORDS_FROM` the words; if no
file has turns, they come from the speakers of the words. An unused file is reported.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from corpus.align.annotation import Annotation
from corpus.align.attribute import WORDS_BRIDGE_US, attribute_words, turns_of_words
from corpus.align.conversation_json import annotation_of, most_bytes_for, parse_json
from corpus.align.formats.ctm import read_ctm
from corpus.align.formats.eaf import read_eaf
from corpus.align.formats.other_json import read_other
from corpus.align.formats.rttm import read_rttm
from corpus.align.formats.stm import read_stm
from corpus.align.formats.subtitles import read_subtitles
from corpus.align.formats.textgrid import read_textgrid
from corpus.align.formats.uem import read_uem
from corpus.align.parsing import drop_at, summarise
from corpus.align.sidecar_files import ENDINGS
from corpus.schemas.conversation import Word
from corpus.schemas.drops import Drop
from corpus.schemas.errors import FormatError, SidecarError

__all__ = ["Annotation", "read_sidecars"]

Found = tuple[Annotation, list[Drop]]
TURNS_FROM = ("conversation", "rttm", "stm", "eaf", "textgrid", "transcript", "vtt", "srt")
_MOST_NAMES = 200
"""The most speakers in one file; a clip holds seven voices."""
WORDS_FROM = ("conversation", "ctm", "textgrid", "eaf", "transcript", "stm", "vtt", "srt")


def _rttm(path: Path, duration_us: int) -> Found:
    turns, drops = read_rttm(path, duration_us)
    return Annotation(turns=turns or None), drops


def _ctm(path: Path, duration_us: int) -> Found:
    words, drops = read_ctm(path, duration_us)
    return Annotation(words=words or None), drops


def _stm(path: Path, duration_us: int) -> Found:
    turns, words, drops = read_stm(path, duration_us)
    return (Annotation(turns=turns, words=words) if turns else Annotation()), drops


_READERS: dict[str, Callable[[Path, int], Found]] = {
    "rttm": _rttm,
    "ctm": _ctm,
    "stm": _stm,
    "uem": read_uem,
    "eaf": read_eaf,
    "textgrid": read_textgrid,
    "vtt": read_subtitles,
    "srt": read_subtitles,
}


@dataclass(slots=True)
class _Read:
    """The annotations by kind of file; the first of a kind counts."""

    duration_us: int
    drops: list[Drop] = field(default_factory=list)
    files: dict[str, tuple[str, Annotation]] = field(default_factory=dict)
    """By kind: the file's name and its annotation."""

    def file(self, path: Path) -> None:
        kind = path.suffix.lower().lstrip(".")
        if kind in ("json", "gz"):
            self._json(path)
        elif kind in self.files:
            self._second(path)
        else:
            annotation, drops = _READERS[kind](path, self.duration_us)
            self._keep(kind, path, annotation, drops)

    def _json(self, path: Path) -> None:
        if self.files.keys() & {"conversation", "transcript"}:
            self._second(path)
            return
        plain = parse_json(path, most_bytes_for(self.duration_us))
        other = read_other(plain, path.name, self.duration_us)
        if other is not None:
            self._keep("transcript", path, *other)
            return
        annotation, drops = annotation_of(plain, path, self.duration_us)
        _check_names(annotation or Annotation(), path.name)
        self.drops += drops
        if annotation is None:
            self.unused(path.name, "it is no conversation and no transcript of a tool that is known")
        else:
            self.files["conversation"] = (path.name, annotation)

    def _keep(self, kind: str, path: Path, found: Annotation, drops: list[Drop]) -> None:
        _check_names(found, path.name)
        self.drops += drops
        if found.turns is not None or found.words is not None or found.events:
            self.files[kind] = (path.name, found)
        elif not drops and kind != "uem":  # a uem file that covers the whole recording is empty
            self.unused(path.name, "it holds no line")

    def _second(self, path: Path) -> None:
        self.unused(path.name, "another file of its kind was read before it")

    def unused(self, name: str, why: str) -> None:
        self.drops.append(drop_at(name, "sidecar_unused", f"the file is not used: {why}", "trim"))

    def first(self, order: Sequence[str], part: str) -> str:
        """The kind that gives turns or words, "" if none does."""
        return next(
            (kind for kind in order if kind in self.files and getattr(self.files[kind][1], part) is not None),
            "",
        )


def _check_names(found: Annotation, name: str) -> None:
    """Refuse more speakers than can be told apart. Raises: SidecarError."""
    names = {turn.speaker for turn in found.turns or ()} | {word.speaker for word in found.words or ()}
    if len(names) > _MOST_NAMES:
        raise SidecarError(f"names {len(names)} speakers, at most {_MOST_NAMES} are read", where=name)


def read_sidecars(paths: Sequence[Path], duration_us: int) -> tuple[Annotation, list[Drop]]:
    """The files' combined annotation, and a Drop for each unused line, item or file."""
    read = _Read(duration_us)
    endings = tuple(ending.lower() for ending in ENDINGS)
    for path in paths:
        if not path.name.lower().endswith(endings):
            read.unused(path.name, f"only {', '.join(ENDINGS)} are read")
            continue
        try:
            read.file(path)
        except (SidecarError, FormatError) as error:
            reason = f"{error.what}; {error.todo}" if error.todo else error.what
            read.drops.append(drop_at(path.name, "sidecar_unreadable", reason))
    return _joined(read), summarise(read.drops)


def _joined(read: _Read) -> Annotation:
    """Turns, words and events, each from the file that has precedence for it."""
    turns_from, words_from = read.first(TURNS_FROM, "turns"), read.first(WORDS_FROM, "words")
    _, base = read.files.get("conversation", ("", Annotation()))
    turns = read.files[turns_from][1].turns if turns_from else None
    words = read.files[words_from][1].words if words_from else None
    events = [event for _, annotation in read.files.values() for event in annotation.events]
    used = []
    for kind, (name, annotation) in read.files.items():
        if kind in ("conversation", turns_from, words_from) or annotation.events:
            used.append(name)
        else:
            read.unused(name, _instead(read, annotation, turns_from, words_from))
    used.sort(key=lambda name: name != (read.files.get("conversation") or ("",))[0])
    return _settled(read, replace(base, turns=turns, words=words, events=tuple(events), used=tuple(used)))


def _instead(read: _Read, found: Annotation, turns_from: str, words_from: str) -> str:
    """A clause that names the files which give the turns and words instead."""
    parts = [("turns", turns_from)] if found.turns is not None else []
    parts += [("words", words_from)] if found.words is not None else []
    return " and ".join(f"the {part} come from {read.files[kind][0]}" for part, kind in parts)


def _settled(read: _Read, annotation: Annotation) -> Annotation:
    """Make turns and words agree on who speaks."""
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
    """Whether the words fit: a conversation file's own words keep its speakers, even those without turns."""
    return {word.speaker for word in words} <= set(annotation.speakers)
