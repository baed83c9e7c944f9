"""Moshi's JSON: `{"alignments": [[text, [start, stop], speaker], …]}`, in seconds."""

from __future__ import annotations

from typing import Any

from corpus.align.formats.gather import Gathered, json_speaker, json_text, json_us
from corpus.align.parsing import LineError


def take_moshi(plain: dict[str, Any], read: Gathered) -> None:
    """Every word at its times; the turns follow from them."""
    for number, raw in enumerate(plain["alignments"]):
        place = f"{read.file}:alignments[{number}]"
        with read.item(place):
            if not isinstance(raw, list) or len(raw) != 3 or not isinstance(raw[1], list) or len(raw[1]) != 2:
                raise LineError("malformed", "is not [text, [start, stop], speaker]")
            start_us, stop_us = json_us(raw[1][0], "the start"), json_us(raw[1][1], "the end")
            read.word(place, json_speaker(raw[2]), start_us, stop_us, json_text(raw[0]))
