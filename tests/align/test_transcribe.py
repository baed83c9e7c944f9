"""Stretches, speakers and loops of recognised words; `test_processors.py` has the model and its bar."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.align.attribute import TurnIndex, attribute_words, turns_of_words
from corpus.align.heard import Heard
from corpus.align.repeats import without_loops
from corpus.align.transcribe import open_transcriber, stretches
from corpus.align.whose_words import attributed
from corpus.schemas.conversation import Turn, Word
from corpus.schemas.errors import MissingModelError, SettingsError
from corpus.schemas.pcm import Pcm
from corpus.schemas.settings import TranscribeSettings
from corpus.schemas.span import Span, union

SECOND = 1_000_000


def turn(speaker: str, start_s: float, stop_s: float) -> Turn:
    return Turn(speaker=speaker, start_us=int(start_s * SECOND), stop_us=int(stop_s * SECOND))


def heard(text: str, start_s: float, length_s: float = 0.3) -> Heard:
    start_us = int(start_s * SECOND)
    return Heard(Span(start_us, start_us + int(length_s * SECOND)), text, 0.5)


turn_lists = st.lists(
    st.builds(
        lambda s, a, n: Turn(speaker=s, start_us=a, stop_us=a + n),
        st.sampled_from("AB"),
        st.integers(0, 3_000 * SECOND),
        st.integers(1, 500 * SECOND),
    ),
    max_size=12,
)


@settings(max_examples=200)
@given(turn_lists, st.integers(1, 4_000 * SECOND))
def test_stretches_are_bounded_and_hold_all_talk(turns: list[Turn], stop_us: int) -> None:
    found = list(stretches(turns, stop_us))
    assert all(0 < span.duration_us <= 300 * SECOND for span in found)
    assert all(left.stop_us <= right.start_us for left, right in pairwise(found))
    inside = [s for t in turns if (s := t.span & Span(0, stop_us))]
    assert union([*union(found), *inside]) == union(found)


def test_a_long_stretch_is_cut_in_its_longest_late_silence() -> None:
    talk = [turn("A", 0, 100), turn("A", 103, 200), turn("A", 201, 260), turn("A", 262, 500)]
    cuts = [span.stop_us / SECOND for span in stretches(talk, 500 * SECOND)]
    assert cuts == [261.0, 500.0]


def test_long_silences_are_left_out_but_for_ten_seconds() -> None:
    found = list(stretches([turn("A", 30, 31), turn("A", 60, 61)], 100 * SECOND))
    assert [(span.start_us / SECOND, span.stop_us / SECOND) for span in found] == [(20, 41), (50, 71)]


def test_words_go_to_the_turn_over_them() -> None:
    index = TurnIndex.of([turn("A", 0, 10), turn("B", 4, 6)])
    words, drops = attributed([heard("Hi,", 3.8, 0.1), heard("yes.", 4.0), heard("far", 11.0)], index)
    assert drops[0].code == "words_outside_turns" and "'far'" in drops[0].reason
    # both talk all of the second word: it stays with the speaker of the word before
    assert [(word.speaker, word.text, word.after, word.confidence) for word in words] == [
        ("A", "Hi", ",", 0.5),
        ("A", "yes", ".", 0.5),
    ]
    assert (
        TurnIndex.of([turn("A", 0, 10), turn("B", 4, 6)]).speaker(Span(4_500_000, 4_600_000), prefer="B")
        == "B"
    )


@settings(max_examples=200)
@given(turn_lists, st.integers(0, 4_000 * SECOND), st.integers(0, 5 * SECOND))
def test_the_index_finds_whom_a_search_of_all_turns_finds(turns: list[Turn], start: int, length: int) -> None:
    span = Span(start, start + length)
    shared: dict[str, int] = {}
    for one in turns:
        common = one.span & span
        shared[one.speaker] = shared.get(one.speaker, 0) + (common.duration_us if common else 0)
    best = max(shared.values(), default=0)
    found = TurnIndex.of(turns).speaker(span)
    if best:
        assert found == min(name for name, us in shared.items() if us == best)
    else:
        near = [t for t in turns if max(t.start_us - span.stop_us, span.start_us - t.stop_us) <= 500_000]
        assert (found is None) == (not near)


def test_words_without_times_or_turns_are_told() -> None:
    words = [
        Word(speaker="", start_us=None, stop_us=None, text="when", timing="unknown"),
        Word(speaker="", start_us=0, stop_us=1, text="here"),
        Word(speaker="B", start_us=0, stop_us=1, text="own"),
    ]
    kept, drops = attribute_words(words, [turn("A", 0, 1), turn("B", 0, 1)])
    assert [(word.speaker, word.text) for word in kept] == [("A", "here"), ("B", "own")]
    assert [drop.code for drop in drops] == ["word_without_speaker"]


def test_turns_of_words_close_small_gaps() -> None:
    words = [Word(speaker="A", start_us=at, stop_us=at + 100_000, text="x") for at in (0, 300_000, 600_001)]
    assert [(t.start_us, t.stop_us) for t in turns_of_words(words, 200_000)] == [
        (0, 400_000),
        (600_001, 700_001),
    ]


def loops_of(words: list[Heard]) -> tuple[list[str], list[list[str]]]:
    kept, loops = without_loops(words, lambda word: word.written, lambda word: word.span)
    return [word.written for word in kept], [[word.written for word in loop] for loop in loops]


def test_a_loop_that_could_be_speech_keeps_its_first_phrase() -> None:
    said = [
        heard(text, i * 0.3)
        for i, text in enumerate(
            ["so", "I'm", "sorry,", "I'm", "sorry", "I'm", "Sorry", "I'm", "sorry.", "I'm"]
        )
    ]
    kept, loops = loops_of(said)
    assert kept == ["so", "I'm", "sorry,"]
    assert loops == [["I'm", "sorry", "I'm", "Sorry", "I'm", "sorry.", "I'm"]]


def test_a_loop_too_fast_to_be_spoken_goes_whole() -> None:
    said = [heard("so", 0), *(heard(text, 1 + i * 0.01, 0.01) for i, text in enumerate(["I'm", "sorry"] * 9))]
    kept, loops = loops_of(said)
    assert kept == ["so"]
    assert len(loops[0]) == 18


def test_what_people_repeat_is_kept() -> None:
    for text in ("no no no no no", "I mean I mean I mean it", "yeah yeah yeah"):
        kept, loops = loops_of([heard(word, i * 0.3) for i, word in enumerate(text.split())])
        assert (" ".join(kept), loops) == (text, [])


def test_a_model_that_is_not_there_is_told_before_any_work(tmp_path: Path) -> None:
    pytest.importorskip("faster_whisper")
    with pytest.raises(MissingModelError, match="corpus models pull whisper-base"):
        open_transcriber(TranscribeSettings(), tmp_path)
    with pytest.raises(MissingModelError, match="corpus models pull whisper:no-such"):
        open_transcriber(TranscribeSettings(backend="whisper:no-such"), tmp_path)
    with pytest.raises(SettingsError, match="unknown"):
        open_transcriber(TranscribeSettings(backend="magic"))


def test_a_gpu_that_is_not_there_is_told(tmp_path: Path) -> None:
    ctranslate2 = pytest.importorskip("ctranslate2")
    if ctranslate2.get_cuda_device_count():
        pytest.skip("this machine has a GPU")
    with pytest.raises(SettingsError, match="finds no GPU"):
        open_transcriber(TranscribeSettings(backend=f"whisper:{tmp_path}", device="cuda"))


@pytest.mark.models
@pytest.mark.slow
def test_each_channel_is_recognised_for_its_own_speaker(
    sample_pcm: Pcm, sample_turns: list[Turn], tmp_path: Path
) -> None:
    """One channel has the call, the other is silent: nobody there says anything."""
    samples = sample_pcm.read(0, 0, sample_pcm.stop_sample)
    samples.astype("<i2").tofile(tmp_path / "channel-1.i16")
    (samples * 0).astype("<i2").tofile(tmp_path / "channel-0.i16")
    pcm = Pcm(tmp_path, 2, sample_pcm.segments, 16_000)
    turns = [turn("call", t.start_us / SECOND, t.stop_us / SECOND) for t in sample_turns]
    words = open_transcriber(TranscribeSettings())(pcm, turns, {"quiet": 0, "call": 1}).words
    assert {word.speaker for word in words} == {"call"}
    assert len(words) > 60
