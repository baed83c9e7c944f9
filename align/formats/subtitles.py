"""SRT and WebVTT: cues with a start, an end and text; the speaker is in the text, if anywhere.

Known forms of a speaker: `<v Ann>text`, `[Ann]: text` and, where at least half of a file's cues
have it, `Ann: text`. Stamps inside a WebVTT cue are the starts of the words after them. Libraries for players
(pysubs2 among them) take a NOTE behind a cue for its text, so blocks are parsed here.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from corpus.align.annotation import Annotation
from corpus.align.formats.gather import Gathered
from corpus.align.formats.text import read_text
from corpus.align.parsing import LineError
from corpus.schemas.drops import Drop

_STAMP = r"(?:(\d{1,4}):)?(\d{1,2}):(\d{1,2})(?:[.,](\d{1,3}))?"
_TIMES = re.compile(rf"\s*{_STAMP}\s*-->\s*{_STAMP}(?:\s.*)?")
_INSIDE = re.compile(rf"<{_STAMP}>")
_VOICE = re.compile(r"<v(?:\.[^\s>]*)?[ \t]+([^>]*)>")
_TAG = re.compile(r"</?(?:[ibusvc]|font|ruby|rt|lang)(?:[.\s][^>]*)?/?>|\{\\[^}]*\}", re.IGNORECASE)
_BRACKETED = re.compile(r"\s*\[([^\]\n]{1,80})\]:[ \t]+")
_BARE = re.compile(r"\s*(?:>>\s*)?([^\W\d_][\w.' -]{0,39}):[ \t]+")
_NO_CUES = ("NOTE", "STYLE", "REGION")


@dataclass(frozen=True, slots=True)
class _Cue:
    place: str
    start_us: int
    stop_us: int
    lines: tuple[str, ...]


def read_subtitles(path: Path, duration_us: int) -> tuple[Annotation, list[Drop]]:
    """Turns of the cues that name somebody, and the words of all."""
    read = Gathered(path.name, duration_us)
    web = path.suffix.lower() == ".vtt"
    cues = list(_cues(read_text(path), read, web))
    rolling = web and any(_INSIDE.search(line) for cue in cues for line in cue.lines)
    names = [_BARE.match(_TAG.sub("", cue.lines[0])) for cue in cues if cue.lines]
    bare = 2 * sum(found is not None for found in names) >= max(len(names), 2)
    before: tuple[str, ...] = ()
    for cue in cues:
        lines = cue.lines
        if rolling:  # a line shown a second time while the next one is spoken
            shown = tuple(_plain(line, web) for line in before)
            lines = tuple(line for line in lines if _INSIDE.search(line) or _plain(line, web) not in shown)
            if len(lines) < len(cue.lines):
                read.tell(cue.place, "repeated_line", "the cue shows a line of the cue before it once more")
        before = cue.lines or before
        with read.item(cue.place):
            _take(cue, "\n".join(lines), read, web, bare)
    return read.annotation(), read.drops


def _cues(text: str, read: Gathered, web: bool) -> Iterator[_Cue]:
    """The cues of all blocks between blank lines."""
    number = 0
    blank = r"\n(?=\n)" if web else r"\n[ \t]*(?=\n)"  # WebVTT's automatic captions hold lines of one space
    for block in re.split(blank, text):
        first = number + 1
        number += block.count("\n") + 1
        lines = block.split("\n")
        while lines and not lines[0].strip():
            lines, first = lines[1:], first + 1
        if not lines or (web and lines[0].split()[0] in (*_NO_CUES, "WEBVTT")):
            continue
        at = next((i for i, line in enumerate(lines[:2]) if "-->" in line), None)
        place = f"{read.file}:{first + (at or 0)}"
        with read.item(place):
            if at is None:
                raise LineError("no_times", f"{lines[0][:40]!r}: a block without times")
            found = _TIMES.fullmatch(lines[at])
            if not found:
                raise LineError("not_a_number", f"{lines[at][:60]!r} are no times of a cue")
            stamps = found.groups()
            yield _Cue(place, _stamp_us(stamps[:4]), _stamp_us(stamps[4:]), tuple(lines[at + 1 :]))


def _stamp_us(parts: tuple[str | None, ...]) -> int:
    hours, minutes, seconds, fraction = parts
    whole = (int(hours or 0) * 60 + int(minutes or 0)) * 60 + int(seconds or 0)
    return whole * 1_000_000 + int((fraction or "0").ljust(6, "0"))


def _take(cue: _Cue, text: str, read: Gathered, web: bool, bare: bool) -> None:
    """The cue's text as utterances, one for each voice in it."""
    parts = _VOICE.split(text) if web else [text]
    voices = [("", parts[0]), *zip(parts[1::2], parts[2::2], strict=True)]
    spoken = [(name, said) for name, said in voices if _plain(said, web).strip()]
    if not spoken and len(voices) < 2:
        read.tell(cue.place, "empty_turn", "the cue has no text")
    for name, said in spoken or voices[1:]:
        speaker, said = html.unescape(name).strip(), _TAG.sub("", said)
        if not speaker:
            found = _BRACKETED.match(said) or (_BARE.match(said) if bare else None)
            if found:
                speaker, said = html.unescape(found.group(1)) if web else found.group(1), said[found.end() :]
        if web and _INSIDE.search(said):
            _timed(cue, speaker, said, read)
        else:
            read.utterance(cue.place, speaker, cue.start_us, cue.stop_us, _plain(said, web))


def _timed(cue: _Cue, speaker: str, said: str, read: Gathered) -> None:
    """Words between stamps: each lasts until the next stamp, the last to the cue's end."""
    if speaker:
        read.turn(speaker, read.inside(cue.place, cue.start_us, cue.stop_us))
    parts = _INSIDE.split(said)
    starts = [cue.start_us, *(_stamp_us(tuple(parts[i : i + 4])) for i in range(1, len(parts), 5))]
    for text, start_us, stop_us in zip(parts[::5], starts, [*starts[1:], cue.stop_us], strict=True):
        if plain := _plain(text, web=True).strip():
            read.word(cue.place, speaker, start_us, stop_us, plain)


def _plain(text: str, web: bool) -> str:
    """Without tags and stamps, entities as their letters."""
    text = _TAG.sub("", _INSIDE.sub("", text) if web else text)
    return html.unescape(text) if web else text
