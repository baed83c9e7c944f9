"""JSON text inside a field: the measurements behind a label (`evidence`) and its settings (`thresholds`)."""

from __future__ import annotations

import json


def as_json(**facts: object) -> str:
    """The facts as one JSON object with sorted keys: the same facts always give the same text."""
    return json.dumps(facts, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))
