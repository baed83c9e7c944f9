"""JSON that other tools write beside recordings: recognised by its form, and read or refused by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from corpus.align.annotation import Annotation
from corpus.align.formats.emilia import take_emilia
from corpus.align.formats.gather import Gathered
from corpus.align.formats.label_studio import take_label_studio
from corpus.align.formats.moshi import take_moshi
from corpus.align.formats.whisperx import take_segments
from corpus.schemas.drops import Drop

_READERS: dict[str, Callable[[Any, Gathered], None]] = {
    "Moshi": take_moshi,
    "Whisper or WhisperX": take_segments,
    "Emilia": take_emilia,
    "Label Studio": take_label_studio,
}


def tool_of(plain: object) -> str | None:
    """The tool that wrote this transcript, or None if it is not recognised."""
    if isinstance(plain, dict):
        return None if str(plain.get("schema")).startswith("corpus.") else _of_object(plain)
    first = plain[0] if isinstance(plain, list) and plain else None
    if not isinstance(first, dict):
        return None
    if "annotations" in first or "predictions" in first or _is_minimal(first):
        return "Label Studio"
    if {"text", "start", "end"} <= first.keys():
        return "Emilia"
    return None


def _of_object(plain: dict[str, object]) -> str | None:
    if isinstance(plain.get("alignments"), list):
        return "Moshi"
    if isinstance(plain.get("segments"), list):
        return "Whisper or WhisperX"
    if isinstance(plain.get("monologues"), list):
        return "Rev"
    if isinstance(plain.get("utterances"), list):
        return "AssemblyAI or Deepgram"
    if "annotations" in plain and "data" in plain:
        return "Label Studio"
    if {"text", "duration", "speaker", "language"} <= plain.keys():
        return "Emilia"
    return None


def _is_minimal(task: dict[str, object]) -> bool:
    """Label Studio's JSON_MIN names its annotation and annotator beside the regions."""
    return {"annotator", "annotation_id"} <= task.keys()


def read_other(plain: object, file: str, duration_us: int) -> tuple[Annotation, list[Drop]] | None:
    """The annotation in another tool's JSON; None if the tool is not supported."""
    take = _READERS.get(tool_of(plain) or "")
    if take is None:
        return None
    read = Gathered(file, duration_us)
    take(plain, read)
    return read.annotation(), read.drops
