"""JSON text inside a field: what a label was made from (`evidence`) and made with (`thresholds`)."""

from __future__ import annotations

import json


def as_json(**facts: object) -> str:
    """The facts as one JSON object, keys sorted, the same text for the same facts."""
    return json.dumps(facts, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))
