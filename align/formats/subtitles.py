"""SRT and WebVTT: cues with a start, an end and text; the speaker is in the text, if anywhere.

Known forms of a speaker: `<v Ann>text`, `[Ann]: text` and, where at least half of a file's cues
have them, `Ann: text` and `[Ann] text`. In such a file a cue without a name right behind another goes on with
its speaker. Stamps inside a WebVTT cue are the starts of the words after them. Libraries for players (pysubs2
among them) take a NOTE behind a cue for its text, so blocks are parsed here.
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

_STAMP = r"(?:(\d{1,4}):)?(\d{1,2}):(\d{1,2})(?:[.,](\d{1,9}))?"
_TIMES = re.compile(rf"\s*{_STAMP}\s*-->\s*{_STAMP}(?:\s.*)?")
_INSIDE = re.compile(rf"<{_STAMP}>")
# No tag reaches over another's beginning: text of unclosed ones would be searched to its end at each.
_VOICE = re.compile(r"<v(?:\.[^\s<>]*)?[ \t]+([^<>]*)>")
_TAG = re.compile(r"</?(?:[ibusvc]|font|ruby|rt|lang)(?:[.\s][^<>]*)?/?>|\{\\[^{}]*\}", re.IGNORECASE)
_BRACKETED = re.compile(r"\s*\[([^\]\n]{1,80})\]:[ \t]+")
_NAME = r"(?:[^\W\d_][\w.'’&@,()-]*|\+?[\d(][\d() -]{5,})(?: [\w.'’&@,()/#+|-]+){0,6}"
_BARE = re.compile(rf"\s*(?:>>\s*|[-–]\s+)?(?=[^:\n]{{1,60}}:)({_NAME}):[ \t]+")
_LABEL = re.compile(r"\s*(?:[-–]\s+)?\[([^\]\n]{1,80})\][ \t]+(?=[^\s\[])")
_SOUND = re.compile(r"(?m)^[ \t]*([-–]?[ \t]*)\(([^()\n]+)\)[ \t]*$")
"""A line all of it in brackets describes a sound."""
_ESCAPED = re.compile(r"(?m)^[ \t]*(?:&gt;){1,3}")
_OTHER_VOICE = re.compile(r"\s*(?:[-–>]|[\[(♪])")
_GOES_ON_US = 1_000_000
"""So long behind a named cue one without a name is still its speaker's."""
_NO_CUES = ("NOTE", "STYLE", "REGION")


@dataclass(frozen=True, slots=True)
class _Cue:
    place: str
    start_us: int
    stop_us: int
    lines: tuple[str, ...]


@dataclass(slots=True)
class _Naming:
    """How a file names speakers in the text of its cues, and who was named last."""

    forms: tuple[re.Pattern[str], ...]
    speaker: str = ""
    until_us: int = 0

    @classmethod
    def of(cls, cues: list[_Cue]) -> _Naming:
        first = [without_tags(cue.lines[0]) for cue in cues if cue.lines]
        often = max(len(first), 2)
        return cls(
            tuple(form for form in (_BARE, _LABEL) if 2 * sum(map(bool, map(form.match, first))) >= often)
        )

    def named(self, said: str, web: bool) -> tuple[str, str]:
        """The speaker that the text begins with, "" for nobody, and what is said."""
        for form in (_BRACKETED, *self.forms):
            if match := form.match(said):
                name = html.unescape(match.group(1)) if web else match.group(1)
                return name.strip(), said[match.end() :]
        return "", said

    def goes_on(self, cue: _Cue, said: str) -> bool:
        """Whether the cue without a name is still the last named speaker's."""
        near = 0 <= cue.start_us - self.until_us <= _GOES_ON_US
        return bool(self.forms and self.speaker) and near and not _OTHER_VOICE.match(said)


def read_subtitles(path: Path, duration_us: int) -> tuple[Annotation, list[Drop]]:
    """Turns of the cues that name somebody, and the words of all cues."""
    read = Gathered(path.name, duration_us)
    web = path.suffix.lower() == ".vtt"
    cues = list(_cues(read_text(path), read, web))
    rolling = web and any(_INSIDE.search(line) for cue in cues for line in cue.lines)
    naming = _Naming.of(cues)
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
            _take(cue, "\n".join(lines), read, web, naming)
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
        for at, some in _apart(lines):
            place = f"{read.file}:{first + at}"
            with read.item(place):
                if "-->" not in some[0]:
                    raise LineError("no_times", f"{some[0][:40]!r}: a block without times")
                times = _TIMES.fullmatch(some[0])
                if not times:
                    raise LineError("not_a_number", f"{some[0][:60]!r} are not the times of a cue")
                stamps = times.groups()
                yield _Cue(place, _stamp_us(stamps[:4]), _stamp_us(stamps[4:]), tuple(some[1:]))


def _apart(lines: list[str]) -> Iterator[tuple[int, list[str]]]:
    """A block's cues from their times on, with the lines' places; some writers leave no blank line between.

    A line of one number before further times is the next cue's.
    """
    starts = [at for at, line in enumerate(lines) if ("-->" in line if at < 2 else _TIMES.fullmatch(line))]
    if not starts:
        yield 0, lines
        return
    for at, following in zip(starts, [*starts[1:], len(lines) + 1], strict=True):
        numbered = following <= len(lines) and following > at + 1 and lines[following - 1].strip().isdecimal()
        yield at, lines[at : following - numbered]


def _stamp_us(parts: tuple[str | None, ...]) -> int:
    hours, minutes, seconds, fraction = parts
    whole = (int(hours or 0) * 60 + int(minutes or 0)) * 60 + int(seconds or 0)
    return whole * 1_000_000 + (int((fraction or "0").ljust(9, "0")) + 500) // 1000


def _take(cue: _Cue, text: str, read: Gathered, web: bool, naming: _Naming) -> None:
    """The cue's text as utterances, one for each voice in it."""
    parts = _VOICE.split(text) if web else [text]
    voices = [("", parts[0]), *zip(parts[1::2], parts[2::2], strict=True)]
    spoken = [(name, said) for name, said in voices if _plain(said, web).strip(" \t\n-–")]
    if not spoken and len(voices) < 2:
        read.tell(cue.place, "empty_turn", "the cue has no text")
    for name, tagged in spoken or voices[1:]:
        if not web:
            tagged = _ESCAPED.sub(">>", tagged)
        speaker, said = html.unescape(name).strip(), _SOUND.sub(r"\1[\2]", without_tags(tagged))
        if not speaker:
            speaker, said = naming.named(said, web)
            if speaker:
                naming.speaker = speaker
            elif naming.goes_on(cue, said):
                speaker = naming.speaker
                reason = f"the cue names nobody and follows one of {speaker!r} at once: taken as theirs"
                read.tell(cue.place, "speaker_goes_on", reason)
            else:
                naming.speaker = ""
            naming.until_us = cue.stop_us
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


def without_tags(text: str) -> str:
    return _TAG.sub("", text)


def _plain(text: str, web: bool) -> str:
    """Without tags and stamps, entities as their letters."""
    text = without_tags(_INSIDE.sub("", text) if web else text)
    return html.unescape(text) if web else text
