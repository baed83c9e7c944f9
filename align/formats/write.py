"""The formats that a conversation can be written in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from corpus.align.formats import json_out, lines_out, tiers_out
from corpus.schemas.conversation import Conversation
from corpus.schemas.drops import Drop


@dataclass(frozen=True, slots=True)
class _Format:
    """How a format's files end, and what writes one."""

    ending: str
    write: Callable[[Conversation], tuple[str, list[Drop]]]


FORMATS = {
    "conversation": _Format(".json", json_out.write_conversation),
    "rttm": _Format(".rttm", lines_out.write_rttm),
    "uem": _Format(".uem", lines_out.write_uem),
    "ctm": _Format(".ctm", lines_out.write_ctm),
    "stm": _Format(".stm", lines_out.write_stm),
    "srt": _Format(".srt", lines_out.write_srt),
    "vtt": _Format(".vtt", lines_out.write_vtt),
    "textgrid": _Format(".TextGrid", tiers_out.write_textgrid),
    "eaf": _Format(".eaf", tiers_out.write_eaf),
    "moshi": _Format(".json", json_out.write_moshi),
    "whisperx": _Format(".json", json_out.write_whisperx),
    "emilia": _Format(".json", json_out.write_emilia),
    "label-studio": _Format(".json", json_out.write_label_studio),
}
