"""Any text survives; no tokens are an error."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from corpus.trainer.data.sequence import BYTE_0, EOW, TOOL
from corpus.trainer.data.text import BYTES


@given(st.text())
def test_text_comes_back(text: str) -> None:
    tokens = BYTES.encode(text)
    assert BYTES.decode(tokens) == text.encode("utf-8", errors="replace").decode()
    assert all(BYTE_0 <= token < BYTE_0 + 256 for token in tokens)


def test_tokens_are_bytes() -> None:
    assert BYTES.encode("é!") == (BYTE_0 + 0xC3, BYTE_0 + 0xA9, BYTE_0 + 0x21)


@given(st.lists(st.integers(0, 2000)))
def test_nothing_a_model_writes_is_an_error(tokens: list[int]) -> None:
    BYTES.decode(tokens).encode()


def test_half_a_character_is_replaced_and_controls_are_left_out() -> None:
    first, second = BYTES.encode("é")
    assert BYTES.decode([first]) == "\ufffd"
    assert BYTES.decode([first, BYTES.encode("x")[0]]) == "\ufffdx"
    assert BYTES.decode([first, EOW, second]) == "é"
    assert BYTES.decode([BYTE_0 + 256]) == "\ufffd"


def test_a_word_has_its_space_before_it_and_its_comma_behind() -> None:
    assert BYTES.decode(BYTES.word("well", ",")) == " well,"
    assert BYTES.decode([*BYTES.word("well", ","), *BYTES.word("yes")]) == " well, yes"
    assert BYTES.word(" ") == ()
    assert BYTES.event("4") == (TOOL, BYTE_0 + ord("4"))
