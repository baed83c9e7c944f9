"""Emilia's JSON: a list of `{text, start, end, speaker, …}`, or one such object for a whole file."""

from __future__ import annotations

from typing import Any

from corpus.align.formats.gather import Gathered, json_speaker, json_text, json_us
from corpus.align.parsing import LineError


def take_emilia(plain: list[Any] | dict[str, Any], read: Gathered) -> None:
    """Every item as a turn with its words spread over it."""
    items = plain if isinstance(plain, list) else [{**plain, "start": 0, "end": plain["duration"]}]
    for number, raw in enumerate(items):
        place = f"{read.file}:[{number}]"
        with read.item(place):
            if not isinstance(raw, dict):
                raise LineError("malformed", "is not an object")
            start_us, stop_us = json_us(raw.get("start"), "the start"), json_us(raw.get("end"), "the end")
            text = json_text(raw.get("text", ""))
            read.utterance(place, json_speaker(raw.get("speaker")), start_us, stop_us, text)
