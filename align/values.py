"""Checks values in files from elsewhere: bounded, finite, valid Unicode, and JSON where JSON is expected."""

from __future__ import annotations

import json
import math

from corpus.align.parsing import LineError
from corpus.schemas.evidence import as_json

LARGEST_INTEGER = (1 << 63) - 1
LONGEST_TEXT = 1 << 16
DEEPEST = 32
RESERVED_NAMES = frozenset(["room"])
"""Names of channels that belong to nobody."""


def check_values(plain: object) -> None:
    """Require that a dataset can hold every text, number and key inside the value.

    Raises:
        LineError: it cannot hold one of them.
    """
    level: list[object] = [plain]
    for _ in range(DEEPEST):
        deeper: list[object] = []
        for value in level:
            _check_scalar(value)
            if isinstance(value, dict):
                deeper += [*value.keys(), *value.values()]
            elif isinstance(value, list):
                deeper += value
        if not deeper:
            return
        level = deeper
    raise LineError("too_deep", f"is nested deeper than {DEEPEST} levels")


def _check_scalar(value: object) -> None:
    if isinstance(value, str):
        check_text(value)
    elif isinstance(value, int):
        if abs(value) > LARGEST_INTEGER:
            raise LineError("number_too_large", "holds a number of more than 64 bits")
    elif isinstance(value, float) and not math.isfinite(value):
        raise LineError("not_a_number", f"holds {value}, which JSON does not know")


def check_text(text: str) -> None:
    """Require valid Unicode without NUL, at most 65,536 characters. Raises: LineError."""
    if len(text) > LONGEST_TEXT:
        raise LineError("text_too_long", f"holds a text of {len(text)} characters, at most {LONGEST_TEXT}")
    if "\0" in text or any("\ud800" <= letter <= "\udfff" for letter in text):
        raise LineError("bad_text", "holds a text with NUL or half of a surrogate pair")


def speaker_name(name: str) -> str:
    """The name, if a speaker may have it. Raises: LineError."""
    check_text(name)
    if not name.strip():
        raise LineError("unknown_speaker", "names no speaker")
    if name.lower() in RESERVED_NAMES:
        raise LineError("reserved_name", f"{name!r} is the name of the channel that is nobody's; rename it")
    return name


def object_text(value: object, name: str) -> str:
    """The JSON text of an object that is given as an object or as text. Raises: LineError."""
    if isinstance(value, dict):
        return as_json(**value)
    if not isinstance(value, str):
        raise LineError("not_an_object", f"{name} must be an object")
    try:
        inside = json.loads(value)
    except (ValueError, RecursionError) as error:
        raise LineError("not_json", f"{name} is not valid JSON") from error
    if not isinstance(inside, dict):
        raise LineError("not_an_object", f"{name} must be an object")
    check_values(inside)
    return value
