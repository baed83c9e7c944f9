"""JSON that other tools write beside recordings: recognised, so that it is named and not passed over."""

from __future__ import annotations


def tool_of(plain: object) -> str | None:
    """Whose transcript the JSON is, or None where it looks like nobody's."""
    if isinstance(plain, dict):
        return _of_object(plain)
    first = plain[0] if isinstance(plain, list) and plain else None
    if not isinstance(first, dict):
        return None
    if "annotations" in first or "predictions" in first:
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
    return None
