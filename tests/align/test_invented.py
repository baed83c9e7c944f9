"""What a recogniser writes and nobody said, found whatever the processor."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.align.heard import Heard, joined_tokens, with_length
from corpus.align.invented import without_invented
from corpus.schemas.span import Span

PROMPT = "Um, uh, hmm, er, ah."
WINDOW = Span(0, 30_000_000)
NEXT_WINDOW = Span(30_000_000, 60_000_000)


def heard(text: str, start_s: float, length_s: float = 0.3, window: Span = WINDOW) -> Heard:
    start_us = round(start_s * 1e6)
    return Heard(Span(start_us, start_us + round(length_s * 1e6)), text, 0.5, window)


def spoken(text: str, start_s: float = 1.0, every_s: float = 0.3, length_s: float = 0.25) -> list[Heard]:
    return [heard(word, start_s + i * every_s, length_s) for i, word in enumerate(text.split())]


def kept_and_codes(words: list[Heard]) -> tuple[str, list[tuple[str, int]]]:
    kept, drops = without_invented(words, PROMPT)
    assert len(kept) + sum(drop.count for drop in drops) == len(words)
    return " ".join(word.written for word in kept), [(drop.code, drop.count) for drop in drops]


def test_written_parts_become_words() -> None:
    tokens = [heard(" twenty", 1), heard("-five", 1.3), heard(" 3", 2), heard(".5%", 2.2), heard(" ", 3)]
    assert [(w.written, w.span.start_us, w.span.stop_us) for w in joined_tokens(tokens, "en")] == [
        ("twenty-five", 1_000_000, 1_600_000),
        ("3.5%", 2_000_000, 2_500_000),
    ]
    assert [w.written for w in joined_tokens([heard("你", 1), heard("好", 2)], "zh")] == ["你", "好"]
    across = [heard(" end", 29, 0.3, WINDOW), heard("start", 31, 0.3, NEXT_WINDOW)]
    assert [w.written for w in joined_tokens(across, "en")] == ["end", "start"]


def test_words_without_length_go() -> None:
    words = [*spoken("so I"), heard("think", 2.0, 0.02), heard("so", 2.02, 0), heard("yes", 2.02, 0.021)]
    assert kept_and_codes(words) == ("so I yes", [("words_without_length", 2)])


def test_a_lone_word_of_a_sentence_may_lack_length() -> None:
    words = [*spoken("so"), heard("I", 1.25, 0), *spoken("think", 1.25)]
    assert kept_and_codes(words) == ("so I think", [])
    assert kept_and_codes(words[1:]) == ("think", [("words_without_length", 1)])
    assert kept_and_codes(words[:2]) == ("so", [("words_without_length", 1)])
    across = [replace(words[0], window=NEXT_WINDOW), *words[1:]]
    assert kept_and_codes(across) == ("so think", [("words_without_length", 1)])


def test_a_word_without_length_takes_some_from_the_word_before() -> None:
    so, i, think = [*spoken("so"), heard("I", 1.25, 0), *spoken("think", 1.25)]
    spans = [word.span for word in with_length([so, i, think], 20_000)]
    assert spans == [Span(1_000_000, 1_230_000), Span(1_230_000, 1_250_000), think.span]
    assert with_length([i, think], 20_000) == [i, think]  # there is no word before it
    apart = replace(i, span=Span(2_000_000, 2_010_000))
    spans = [word.span for word in with_length([so, apart], 20_000)]
    assert spans == [so.span, Span(1_990_000, 2_010_000)]


def test_remarks_in_brackets_go_and_an_unclosed_bracket_takes_nothing_with_it() -> None:
    words = spoken("well [BLANK _AUDIO] (laughs) so ♪ la la ♪ (or not ... -")
    assert kept_and_codes(words) == (
        "well so (or not",
        [("bracketed_words", 3), ("bracketed_words", 4), ("bracketed_words", 2)],
    )


def test_words_at_the_end_of_the_window_go() -> None:
    words = [*spoken("that is it"), heard("Um,", 29.98, 0.1), heard("then", 30.1, 0.3, NEXT_WINDOW)]
    assert kept_and_codes(words) == ("that is it then", [("words_at_window_end", 1)])


def test_the_prompt_is_no_speech() -> None:
    assert kept_and_codes(spoken("so um, uh, hmm, er, ah. right")) == ("so right", [("prompt_words", 5)])
    tail = [*spoken("so um"), heard("Uh,", 29.2), heard("uh.", 29.5)]
    assert kept_and_codes(tail) == ("so", [("prompt_words", 3)])
    # people do say two fillers in a row, and one at the very end
    said = [*spoken("so um uh I hmm"), heard("well", 28.0), heard("um", 29.4)]
    assert kept_and_codes(said) == ("so um uh I hmm well um", [])


def test_speech_faster_than_anybody_speaks_goes() -> None:
    fast = spoken("one two three four five six seven eight nine", 1, 0.05, 0.05)
    assert kept_and_codes([*fast, heard("so", 5)]) == ("so", [("words_too_fast", 9)])


def test_loops_go_but_for_their_first_phrase() -> None:
    words = spoken("I am sorry " * 5 + "now")
    assert kept_and_codes(words) == ("I am sorry now", [("repeated_words", 12)])
    assert kept_and_codes(spoken("no " * 5)) == ("no no no no no", [])
    assert kept_and_codes(spoken("no " * 6)) == ("no", [("repeated_words", 5)])


word_lists = st.lists(
    st.builds(
        lambda text, start, length, late: Heard(
            Span(start, start + length), text, 0.5, NEXT_WINDOW if late else WINDOW
        ),
        st.sampled_from(
            ["um,", "uh,", "hmm,", "er,", "(a", "b)", "[c]", "♪", "word", "…", "'", "di-", "mmm"]
        ),
        st.integers(0, 59_000_000),
        st.integers(0, 400_000),
        st.booleans(),
    ),
    max_size=30,
)


@settings(max_examples=300)
@given(word_lists, st.sampled_from([PROMPT, "", "Um."]))
def test_every_word_is_kept_or_in_a_drop(words: list[Heard], prompt: str) -> None:
    kept, drops = without_invented(words, prompt)
    assert len(kept) + sum(drop.count for drop in drops) == len(words)
    places = iter(words)
    assert all(word in places for word in kept)  # in their order
