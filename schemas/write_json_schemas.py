"""Write the JSON Schemas of the file forms: `python -m corpus.schemas.write_json_schemas`.

They are generated from the dataclasses; tests/schemas/test_json_schemas.py keeps them in step.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from corpus.schemas.clip import ClipHead
from corpus.schemas.conversation import Conversation
from corpus.schemas.dataset import InputEntry, Manifest
from corpus.schemas.errors import MissingDependencyError
from corpus.schemas.review import Review
from corpus.schemas.settings import Settings
from corpus.schemas.sight import Sight

FORMS: dict[str, type[Any]] = {
    "clip": ClipHead,
    "conversation": Conversation,
    "input": InputEntry,
    "manifest": Manifest,
    "review": Review,
    "settings": Settings,
    "sight": Sight,
}
FOLDER = Path(__file__).with_name("json")


def json_schema_text(cls: type[Any]) -> str:
    """The JSON Schema of a form; it refuses unknown fields, as our own reader does."""
    try:
        from pydantic import TypeAdapter
    except ImportError as error:
        todo = 'pip install "duplex-corpus[dev]"'
        raise MissingDependencyError("the schemas are made with pydantic", todo=todo) from error
    schema = TypeAdapter(cls).json_schema()
    for part in (schema, *schema.get("$defs", {}).values()):
        if part.get("type") == "object":
            part["additionalProperties"] = False
        form = part.get("properties", {}).get("schema")
        if form is not None:
            form["const"] = form["default"]
    whole = {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
    return json.dumps(whole, indent=1, sort_keys=True) + "\n"


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, cls in FORMS.items():
        (FOLDER / f"{name}.schema.json").write_text(json_schema_text(cls), encoding="utf-8")


if __name__ == "__main__":
    main()
