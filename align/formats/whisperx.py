"""JSON of Whisper and of WhisperX: segments with words, in seconds.

WhisperX gives no times to what its aligner has no letters for, such as numbers: such words lie
between their neighbours and are marked `interpolated`.
"""

from __future__ import annotations

from itertools import groupby
from typing import Any

from corpus.align.formats.gather import Gathered, json_confidence, json_speaker, json_text, json_us
from corpus.align.formats.stm import spread
from corpus.align.parsing import LineError
from corpus.schemas.conversation import Turn
from corpus.schemas.span import Span


def take_segments(plain: dict[str, Any], read: Gathered) -> None:
    """Segments with a speaker as turns, and their words at times of their own, where they have any."""
    for number, raw in enumerate(plain["segments"]):
        place = f"{read.file}:segments[{number}]"
        with read.item(place):
            if not isinstance(raw, dict):
                raise LineError("malformed", "is not an object")
            start_us, stop_us = json_us(raw.get("start"), "the start"), json_us(raw.get("end"), "the end")
            speaker = json_speaker(raw.get("speaker"))
            words = raw.get("words")
            if isinstance(words, list) and words:
                span = read.inside(place, start_us, stop_us)
                if speaker and span:
                    read.turn(speaker, span)
                _take_words(words, speaker, span, place, read)
            else:
                read.utterance(place, speaker, start_us, stop_us, json_text(raw.get("text")))


def _take_words(words: list[Any], speaker: str, segment: Span, place: str, read: Gathered) -> None:
    """Words with times as they are; a run without takes the room between its neighbours."""
    before_us = segment.start_us
    runs = [list(run) for _, run in groupby(enumerate(words), key=lambda each: _has_times(each[1]))]
    for at, run in enumerate(runs):
        if _has_times(run[0][1]):
            for number, raw in run:
                with read.item(f"{place}.words[{number}]"):
                    before_us = max(before_us, _take_word(raw, speaker, f"{place}.words[{number}]", read))
            continue
        after = runs[at + 1][0][1] if at + 1 < len(runs) else {}
        after_us = segment.stop_us
        with read.item(f"{place}.words[{run[-1][0]}]"):
            after_us = json_us(after["start"], "the start") if after else after_us
        room = Span(before_us, max(before_us, min(after_us, read.duration_us)))
        for number, raw in run:
            with read.item(f"{place}.words[{number}]"):
                if not isinstance(raw, dict):
                    raise LineError("malformed", "is not an object")
                json_speaker(raw.get("speaker")), json_text(raw.get("word"))
        sound = [raw for _, raw in run if isinstance(raw, dict) and isinstance(raw.get("word"), str)]
        for name, group in groupby(sound, key=lambda raw: raw.get("speaker") or speaker):
            with read.item(f"{place}.words[{run[0][0]}]"):
                texts = read.spoken(place, " ".join(raw["word"] for raw in group))
                read.words += spread(texts, json_speaker(name), room)


def _has_times(raw: object) -> bool:
    return isinstance(raw, dict) and raw.get("start") is not None and raw.get("end") is not None


def _take_word(raw: dict[str, Any], speaker: str, place: str, read: Gathered) -> int:
    """Where the word ends; a word of another speaker than its segment's is a turn of his."""
    start_us, stop_us = json_us(raw["start"], "the start"), json_us(raw["end"], "the end")
    name = json_speaker(raw.get("speaker")) or speaker
    confidence = json_confidence(raw.get("score", raw.get("probability")))
    text = json_text(raw.get("word", raw.get("text")))
    read.word(place, name, start_us, stop_us, text, confidence)
    span = read.words[-1].span if read.words else None
    if name and name != speaker and span:
        read.turns.append(Turn(speaker=name, start_us=span.start_us, stop_us=span.stop_us))
    return stop_us
