"""Any text survives; no tokens are an error."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from corpus.trainer.data.sequence import BYTE_0, EOW, SMALLEST_VOCAB, TOOL
from corpus.trainer.data.text import decode, encode, event_tokens, word_tokens


@given(st.text())
def test_text_comes_back(text: str) -> None:
    tokens = encode(text)
    assert decode(tokens) == text.encode("utf-8", errors="replace").decode()
    assert all(BYTE_0 <= token < SMALLEST_VOCAB for token in tokens)


def test_tokens_are_bytes() -> None:
    assert encode("é!") == (BYTE_0 + 0xC3, BYTE_0 + 0xA9, BYTE_0 + 0x21)


@given(st.lists(st.integers(0, 2000)))
def test_nothing_a_model_writes_is_an_error(tokens: list[int]) -> None:
    decode(tokens).encode()


def test_half_a_character_is_replaced_and_controls_are_left_out() -> None:
    first, second = encode("é")
    assert decode([first]) == "\ufffd"
    assert decode([first, encode("x")[0]]) == "\ufffdx"
    assert decode([first, EOW, second]) == "é"
    assert decode([SMALLEST_VOCAB]) == "\ufffd"


def test_a_word_has_its_space_before_it_and_its_comma_behind() -> None:
    assert decode(word_tokens("well", ",")) == " well,"
    assert decode([*word_tokens("well", ","), *word_tokens("yes")]) == " well, yes"
    assert word_tokens(" ") == ()
    assert event_tokens("4") == (TOOL, BYTE_0 + ord("4"))
