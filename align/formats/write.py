"""The formats that a conversation can be written in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from corpus.align.formats import json_out, lines_out, tiers_out
from corpus.schemas.conversation import Conversation
from corpus.schemas.drops import Drop


@dataclass(frozen=True, slots=True)
class Format:
    """How a format's files end, and what writes one."""

    ending: str
    write: Callable[[Conversation], tuple[str, list[Drop]]]


FORMATS = {
    "conversation": Format(".json", json_out.write_conversation),
    "rttm": Format(".rttm", lines_out.write_rttm),
    "uem": Format(".uem", lines_out.write_uem),
    "ctm": Format(".ctm", lines_out.write_ctm),
    "stm": Format(".stm", lines_out.write_stm),
    "srt": Format(".srt", lines_out.write_srt),
    "vtt": Format(".vtt", lines_out.write_vtt),
    "textgrid": Format(".TextGrid", tiers_out.write_textgrid),
    "eaf": Format(".eaf", tiers_out.write_eaf),
    "moshi": Format(".json", json_out.write_moshi),
    "whisperx": Format(".json", json_out.write_whisperx),
    "emilia": Format(".json", json_out.write_emilia),
    "label-studio": Format(".json", json_out.write_label_studio),
}
