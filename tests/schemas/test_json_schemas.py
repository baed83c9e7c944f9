"""The JSON Schema files are those of the dataclasses, and hold for what the dataclasses write."""

from __future__ import annotations

import json

import pytest
from jsonschema import Draft202012Validator

from corpus.schemas.codec import to_json
from corpus.schemas.conversation import Conversation, Cue, CueSpan, Event, Turn, Word
from corpus.schemas.ids import with_ids
from corpus.schemas.settings import Settings
from corpus.schemas.write_json_schemas import FOLDER, FORMS, json_schema_text


@pytest.mark.parametrize("name", FORMS)
def test_the_file_is_what_the_dataclass_says(name: str) -> None:
    written = (FOLDER / f"{name}.schema.json").read_text("utf-8")
    assert written == json_schema_text(FORMS[name]), "run python -m corpus.schemas.write_json_schemas"


def test_no_other_files_lie_beside_them() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {f"{name}.schema.json" for name in FORMS}


def validator(name: str) -> Draft202012Validator:
    schema = json.loads((FOLDER / f"{name}.schema.json").read_text("utf-8"))
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


CONVERSATION = Conversation(
    recording="call",
    duration_us=2_000_000,
    speakers=("A", "B"),
    turns=(Turn(speaker="A", start_us=0, stop_us=1_000_000),),
    words=(
        Word(speaker="A", start_us=1, stop_us=2, text="so", after=","),
        Word(speaker="B", start_us=None, stop_us=None, text="yes", timing="unknown"),
    ),
    cues=(
        Cue(
            label="self_correction",
            kind="repetition",
            speaker="A",
            start_us=0,
            stop_us=9,
            confidence=0.5,
            origin="test/1",
            spans=(CueSpan(role="repair", start_us=1, stop_us=2),),
        ),
    ),
    events=(Event(label="note", kind="", speaker=None, start_us=5, stop_us=5, origin="test"),),
)


def test_a_conversation_holds_its_schema() -> None:
    validator("conversation").validate(json.loads(to_json(with_ids(CONVERSATION))))


def test_settings_hold_their_schema() -> None:
    validator("settings").validate(json.loads(to_json(Settings())))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("turns", 0, "start_us"), 1.5),
        (("turns", 0, "start"), 1),
        (("words", 0, "timing"), "guessed"),
        (("speakers",), None),
        (("schema",), "corpus.conversation/1"),
    ],
)
def test_the_schema_refuses_what_the_form_refuses(path: tuple[str | int, ...], value: object) -> None:
    plain = json.loads(to_json(with_ids(CONVERSATION)))
    place = plain
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    assert not validator("conversation").is_valid(plain)
