"""Conversion of older versions of the forms to the current one.

`corpus.conversation/1` and `corpus.clip/1` had no fields for a cue's partner and thresholds: both were part
of its evidence. Ids are kept as written.
"""

from __future__ import annotations

import json
from typing import Any

from corpus.schemas.evidence import as_json

_PARTNER_KEYS = ("to", "of", "with")
"""Where `/1` named the other person: who takes the floor, whose floor it is, who also talks."""
_THRESHOLD_KEYS = frozenset(
    (
        *("ipu_bridge_us", "shift_silence_us", "shift_alone_us", "backchannel_longest_us"),
        *("backchannel_silence_us", "backchannel_words", "overlap_shortest_us"),
        *("interruption_shortest_us", "interruption_overlap_us"),
    )
)
"""The settings that `/1` stored in the evidence."""


def cue_from_1(plain: dict[str, Any]) -> dict[str, Any]:
    """A cue written as `/1`, with its partner and thresholds moved into their own fields.

    Evidence that is not a JSON object is left unchanged.
    """
    try:
        facts = json.loads(plain.get("evidence", "{}"))
    except (TypeError, ValueError, RecursionError):
        return plain
    if not isinstance(facts, dict):
        return plain
    partner = next((facts[key] for key in _PARTNER_KEYS if isinstance(facts.get(key), str)), None)
    moved = {key for key in _PARTNER_KEYS if isinstance(facts.get(key), str)}
    thresholds = {key: value for key, value in facts.items() if key in _THRESHOLD_KEYS}
    rest = {key: value for key, value in facts.items() if key not in moved | thresholds.keys()}
    try:
        added = {"partner": partner, "thresholds": as_json(**thresholds), "evidence": as_json(**rest)}
    except ValueError:  # NaN
        return plain
    return {
        **plain,
        **{name: value for name, value in added.items() if name not in plain or name == "evidence"},
    }


def items_from_1(plain: dict[str, Any]) -> dict[str, Any]:
    """A conversation or the head of a clip as `/1` wrote it, without its `schema`."""
    cues = plain.get("cues")
    if isinstance(cues, list):
        cues = [cue_from_1(cue) if isinstance(cue, dict) else cue for cue in cues]
        plain = {**plain, "cues": cues}
    return {name: value for name, value in plain.items() if name != "schema"}
