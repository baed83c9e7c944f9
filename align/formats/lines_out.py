"""Writers of the line formats: RTTM, UEM, CTM, STM, and of subtitles: SRT, WebVTT."""

from __future__ import annotations

import html

from corpus.align.formats.ctm import NO_NAME
from corpus.align.formats.outgoing import (
    file_id,
    fitting,
    left_out,
    lines,
    one_token,
    round_ms,
    seconds_text,
    sound_words,
    utterances,
    without_place,
    written,
)
from corpus.align.formats.stm import NOT_SPEECH
from corpus.align.formats.subtitles import without_tags
from corpus.align.formats.uem import annotated
from corpus.schemas.conversation import Conversation
from corpus.schemas.drops import Drop


def write_rttm(talk: Conversation) -> tuple[str, list[Drop]]:
    """Turns; the format cannot hold words."""
    names, drops = fitting(talk, _token_name)
    turns = sorted((turn for turn in talk.turns if turn.span), key=lambda turn: (turn.span, turn.speaker))
    drops += left_out(talk, "empty_turn", "turns last 0 s and are left out", len(talk.turns) - len(turns))
    rows = [
        f"SPEAKER {file_id(talk)} 1 {seconds_text(turn.start_us)} {seconds_text(turn.span.duration_us)} "
        f"<NA> <NA> {names[turn.speaker]} <NA> <NA>"
        for turn in turns
    ]
    return lines(rows), [*drops, *without_place(talk, "words")]


def write_uem(talk: Conversation) -> tuple[str, list[Drop]]:
    """The stretches that were annotated: all but the `unscored` events."""
    rows = [
        f"{file_id(talk)} 1 {seconds_text(span.start_us)} {seconds_text(span.stop_us)}"
        for span in annotated(talk.events, talk.duration_us)
    ]
    others = sum(event.label != "unscored" for event in talk.events)
    drops = left_out(talk, "events_have_no_place", "events have no place in the format", others)
    return lines(rows), [*drops, *without_place(talk, "turns", "words", "events")[:2]]


def write_ctm(talk: Conversation) -> tuple[str, list[Drop]]:
    """Words in eight columns, the last being the speaker; the format cannot hold turns without words."""
    names, renamed = fitting(talk, _token_name)
    words, drops = sound_words(talk)
    rows = []
    for word in words:
        span = word.span
        assert span is not None
        times = f"{seconds_text(span.start_us)} {seconds_text(span.duration_us)}"
        sure = "NA" if word.confidence is None else repr(word.confidence)
        rows.append(f"{file_id(talk)} 1 {times} {written(word)} {sure} lex {names[word.speaker]}")
    return lines(rows), [*renamed, *drops, *without_place(talk, "turns")]


def write_stm(talk: Conversation) -> tuple[str, list[Drop]]:
    """Turns with their words; the format cannot hold the words' own times."""
    names, renamed = fitting(talk, _token_name)
    said, drops = utterances(talk)
    rows = []
    for each in said:
        times = f"{seconds_text(each.span.start_us)} {seconds_text(each.span.stop_us)}"
        text = " ".join(written(word) for word in each.words)
        rows.append(f"{file_id(talk)} 1 {names[each.speaker]} {times} <o> {text}".rstrip())
    return lines(rows), [*renamed, *drops, *without_place(talk)]


def _token_name(name: str) -> str:
    """A name as one field that no reader takes for something else."""
    token = one_token(name)
    return f"{token}_" if token in (NO_NAME, "unknown", *NOT_SPEECH) else token


def write_srt(talk: Conversation) -> tuple[str, list[Drop]]:
    """Turns as cues `[Ann]: text`, in whole milliseconds."""
    names, renamed = fitting(talk, lambda name: " ".join(name.replace("]", ")").split())[:80])
    said, drops = utterances(talk)
    blocks = [
        f"{number}\n{_stamp(each.span.start_us, ',')} --> {_stamp(each.span.stop_us, ',')}\n"
        f"[{names[each.speaker]}]: {each.text}\n"
        for number, each in enumerate(said, 1)
    ]
    tagged = sum(without_tags(written(word)) != written(word) for each in said for word in each.words)
    reason = "words hold what reads as a tag, which the format cannot escape"
    drops += left_out(talk, "looks_like_a_tag", reason, tagged)
    return lines(blocks), [*renamed, *drops, *without_place(talk)]


def write_vtt(talk: Conversation) -> tuple[str, list[Drop]]:
    """Turns as cues with a voice tag, in whole milliseconds."""
    names, renamed = fitting(talk, lambda name: " ".join(name.split()))
    said, drops = utterances(talk)
    blocks = [
        f"{_stamp(each.span.start_us, '.')} --> {_stamp(each.span.stop_us, '.')}\n"
        f"<v {html.escape(names[each.speaker], quote=False)}>{html.escape(each.text, quote=False)}</v>\n"
        for each in said
    ]
    return lines(["WEBVTT\n", *blocks]), [*renamed, *drops, *without_place(talk)]


def _stamp(us: int, point: str) -> str:
    seconds, ms = divmod(round_ms(us), 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{seconds:02d}{point}{ms:03d}"
