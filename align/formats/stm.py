"""STM: one `file channel speaker start stop [<label>] words…` line per utterance, in seconds."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

from corpus.align.marks import spoken_words
from corpus.align.parsing import (
    Line,
    LineError,
    clip,
    clipped_drop,
    of_recording,
    read_lines,
    seconds,
    sound_span,
    split_punctuation,
)
from corpus.align.values import speaker_name
from corpus.schemas.clock import round_half_up
from corpus.schemas.conversation import Turn, Word
from corpus.schemas.drops import Drop
from corpus.schemas.span import Span

NOT_SPEECH = frozenset(("inter_segment_gap", "excluded_region"))
_UNSCORED_TEXT = "ignore_time_segment_in_scoring"


def read_stm(path: Path, duration_us: int) -> tuple[tuple[Turn, ...], tuple[Word, ...], list[Drop]]:
    """The utterances as turns, and their words at times that follow from the number of letters."""
    lines, drops = read_lines(path)
    kept, others = of_recording(((line.text.split()[0], line) for line in lines), path)
    drops += others
    turns: list[Turn] = []
    words: list[Word] = []
    for line in kept:
        try:
            turn, text = _utterance(line, duration_us, drops)
        except LineError as error:
            kind = "trim" if error.code == "unscored" else "fault"
            drops.append(line.drop(error.code, str(error), "trim" if kind == "trim" else "fault"))
            continue
        turns.append(turn)
        said, left = spoken_words(text.split())
        if left:
            marks = " ".join(left)[:80]
            drops.append(line.drop("no_word", f"{marks!r}: sounds, marks or other readings", "trim"))
        words += spread(said, turn.speaker, turn.span)
    turns.sort(key=lambda turn: (turn.start_us, turn.stop_us, turn.speaker))
    words.sort(key=lambda word: word.start_us or 0)
    return tuple(turns), tuple(words), drops


def _utterance(line: Line, duration_us: int, drops: list[Drop]) -> tuple[Turn, str]:
    fields = line.text.split(maxsplit=5)
    if len(fields) < 5:
        raise LineError("wrong_fields", f"an utterance has at least 5 fields, this one {len(fields)}")
    start_us, stop_us = seconds(fields[3], "the start"), seconds(fields[4], "the end")
    speaker, text = speaker_name(fields[2]), fields[5] if len(fields) > 5 else ""
    if text.startswith("<"):
        text = text.partition(">")[2]
    if text.strip().lower() == _UNSCORED_TEXT or speaker in NOT_SPEECH:
        raise LineError("unscored", "the line marks a stretch that nobody transcribed")
    if stop_us == start_us:
        raise LineError("empty_turn", "the utterance lasts 0 s")
    whole = sound_span(start_us, stop_us)
    inside = clip(whole, duration_us)
    if inside != whole:
        drops.append(clipped_drop(line.place, whole, duration_us))
    return Turn(speaker=speaker, start_us=inside.start_us, stop_us=inside.stop_us), text


def spread(written: list[str], speaker: str, span: Span) -> list[Word]:
    """Words over a span, each as long as its share of the letters; `timing` says `interpolated`."""
    letters = sum(len(word) for word in written)
    words: list[Word] = []
    before = 0
    for raw in written:
        start = span.start_us + round_half_up(Fraction(span.duration_us * before, letters))
        before += len(raw)
        stop = span.start_us + round_half_up(Fraction(span.duration_us * before, letters))
        text, after = split_punctuation(raw)
        words.append(
            Word(speaker=speaker, start_us=start, stop_us=stop, text=text, after=after, timing="interpolated")
        )
    return words
