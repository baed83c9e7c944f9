from __future__ import annotations

import dataclasses
import json
import math
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus.schemas.codec import digest, from_json, from_plain, to_json
from corpus.schemas.conversation import Conversation, Cue, Turn, Word
from corpus.schemas.errors import FormatError, NewerSchemaError, SettingsError
from corpus.schemas.settings import Settings


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Inner:
    ratio: float
    names: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Outer:
    count: int
    flag: bool
    mode: Literal["a", "b"]
    maybe: int | None
    inner: tuple[Inner, ...]


LONG = st.integers(-(2**63), 2**63 - 1)
inners = st.builds(
    Inner, ratio=st.floats(allow_nan=False, allow_infinity=False), names=st.lists(st.text()).map(tuple)
)
outers = st.builds(
    Outer,
    count=LONG,
    flag=st.booleans(),
    mode=st.sampled_from(["a", "b"]),
    maybe=st.none() | LONG,
    inner=st.lists(inners, max_size=3).map(tuple),
)


@given(outers)
def test_what_is_written_reads_back_the_same(value: Outer) -> None:
    assert from_json(Outer, to_json(value)) == value
    assert from_json(Outer, to_json(value, indent=1)) == value


@given(outers)
def test_the_digest_ignores_the_order_of_fields(value: Outer) -> None:
    plain = dataclasses.asdict(value)
    assert digest(dict(reversed(plain.items()))) == digest(value)


GOOD: dict[str, Any] = {"count": 1, "flag": True, "mode": "a", "maybe": None, "inner": []}


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"count": True}, "count must be a whole number"),
        ({"count": 1.5}, "count must be a whole number"),
        ({"flag": 1}, "flag must be true or false"),
        ({"mode": "c"}, "mode must be one of"),
        ({"inner": [{"ratio": "x"}]}, r"inner\[0\].ratio must be a number"),
        ({"inner": [{"ratio": math.inf}]}, r"inner\[0\].ratio must be a finite number"),
        ({"extra": 1}, "unknown field extra"),
    ],
)
def test_complaints_name_the_place(change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(FormatError, match=complaint):
        from_plain(Outer, GOOD | change)


def test_a_missing_field_is_named() -> None:
    with pytest.raises(FormatError, match="field count is missing"):
        from_plain(Outer, {k: v for k, v in GOOD.items() if k != "count"})


def test_floats_always_have_a_point() -> None:
    cue = Cue(label="overlap", kind="", speaker="a", start_us=0, stop_us=1, confidence=1, origin="x/1")
    read = from_json(Cue, to_json(cue))
    assert '"confidence":1.0' in to_json(read)


def test_a_newer_form_is_told_from_a_wrong_one() -> None:
    plain = json.loads(to_json(Conversation(recording="r", duration_us=0, speakers=())))
    with pytest.raises(NewerSchemaError, match=r"corpus\.conversation/3"):
        from_plain(Conversation, plain | {"schema": "corpus.conversation/3"})
    with pytest.raises(FormatError, match=r"expected .corpus\.conversation"):
        from_plain(Conversation, plain | {"schema": "corpus.clip/1"})


def test_not_json_is_a_format_error_even_when_deep() -> None:
    with pytest.raises(FormatError):
        from_json(Outer, "[" * 100_000)


def test_settings_out_of_range_name_the_setting() -> None:
    with pytest.raises(SettingsError, match=r"ingest\.picture_width"):
        from_plain(Settings, {"ingest": {"picture_width": 321}})


def test_a_speaker_who_is_not_listed_is_refused() -> None:
    with pytest.raises(ValueError, match="not among"):
        Conversation(
            recording="r", duration_us=9, speakers=("a",), turns=(Turn(speaker="b", start_us=0, stop_us=1),)
        )


def test_a_word_says_when_its_span_is_unknown() -> None:
    with pytest.raises(ValueError, match="contradicts"):
        Word(speaker="a", start_us=None, stop_us=None, text="x")
    assert Word(speaker="a", start_us=None, stop_us=None, text="x", timing="unknown").span is None


@pytest.mark.parametrize(
    "text",
    [
        '{"ratio":1,"names":["\\ud800"]}',
        '{"ratio":1e999,"names":[]}',
        '{"ratio":NaN,"names":[]}',
        '{"ratio":' + "9" * 400 + ',"names":[]}',
        '{"ratio":' + "9" * 5000 + ',"names":[]}',
        '{"ratio":9223372036854775808,"names":[]}',
        '{"ratio":1,"names":' + "[" * 100_000 + "}",
    ],
)
def test_what_nothing_can_store_is_refused(text: str) -> None:
    with pytest.raises(FormatError) as caught:
        from_json(Inner, text, where="x.json")
    assert "x.json" in str(caught.value).encode().decode()
