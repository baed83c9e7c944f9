"""Word times: what an English word sounds like, groups of words, and edges against those people measured."""

from __future__ import annotations

import random
import wave
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.align.forced import (
    LONGEST_GROUP_US,
    RATE_HZ,
    PocketSphinx,
    Sound,
    believed,
    groups,
    in_order,
    open_aligner,
)
from corpus.align.heard import Heard
from corpus.align.pronounce import number_words, phones_of, spoken_parts
from corpus.align.sidecars import read_sidecars
from corpus.schemas.errors import MissingDependencyError
from corpus.schemas.span import Span

MS = 1000
VOWELS = "AA AE AH AO AW AY EH ER EY IH IY OW OY UH UW".split()
CONSONANTS = "B CH D DH F G HH JH K L M N NG P R S SH T TH V W Y Z ZH".split()
PHONES = frozenset(VOWELS + CONSONANTS)
"""Those of the CMU dictionary, which the acoustic model knows."""
AMI = Path(__file__).parents[3] / "shared" / "data" / "ami30"


def word(text: str, start_ms: int, stop_ms: int, aligned: bool = False) -> Heard:
    return Heard(Span(start_ms * MS, stop_ms * MS), text, 0.9, None, aligned)


@settings(deadline=None)
@given(st.text("abcdefghijklmnopqrstuvwxyz'", min_size=1, max_size=30).filter(lambda text: text.strip("'")))
def test_every_word_of_letters_has_phones_the_model_knows(text: str) -> None:
    phones = phones_of(text).split()
    assert phones and set(phones) <= PHONES


def value_of(words: list[str]) -> int:
    """The number that words say: a reader of its own, from the words' meanings."""
    ones = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen".split()
    ones += "fifteen sixteen seventeen eighteen nineteen".split()
    tens = {name: 10 * place for place, name in enumerate("x x twenty thirty forty fifty sixty".split())}
    tens |= {"seventy": 70, "eighty": 80, "ninety": 90}
    scales = {"thousand": 10**3, "million": 10**6, "billion": 10**9}
    total = below = 0
    for name in words:
        if name in scales:
            total, below = total + below * scales[name], 0
        elif name == "hundred":
            below *= 100
        else:
            below += tens[name] if name in tens else ones.index(name)
    return total + below


@given(st.integers(0, 10**10 - 1))
def test_a_number_is_said_as_it_is_read(value: int) -> None:
    assert value_of(number_words(str(value))) == value


def test_what_english_has_no_sound_for_has_no_parts() -> None:
    assert spoken_parts("привет") == spoken_parts("你好") == spoken_parts("naïve") == spoken_parts("—") == []
    assert spoken_parts("Don't,") == ["don't"]
    assert spoken_parts("it’s") == ["it's"]
    assert spoken_parts("twenty-five") == ["twenty", "five"]
    assert spoken_parts("50%") == ["fifty", "percent"]
    assert spoken_parts("007") == ["zero", "zero", "seven"]


heard_words = st.lists(st.tuples(st.integers(0, 900), st.integers(1, 2500), st.booleans()), max_size=40)


@settings(max_examples=200, deadline=None)
@given(heard_words)
def test_groups_hold_every_word_that_can_be_said_once(parts: list[tuple[int, int, bool]]) -> None:
    words: list[Heard] = []
    at = 0
    for gap, length, _ in parts:
        words.append(word("x", at + gap, at + gap + length))
        at += gap + length
    speakable = [can for _, _, can in parts]
    found = list(groups(words, speakable))
    assert [place for first, last, _ in found for place in range(first, last)] == [
        place for place, can in enumerate(speakable) if can
    ]
    for first, last, sound in found:
        assert sound.start_us <= words[first].span.start_us and words[last - 1].span.stop_us <= sound.stop_us
        assert (
            last - first == 1 or words[last - 1].span.stop_us - words[first].span.start_us <= LONGEST_GROUP_US
        )
        neighbours = [w for place, w in enumerate(words) if not first <= place < last]
        assert not any(sound.overlaps(w.span) for w in neighbours)


@settings(max_examples=300, deadline=None)
@given(heard_words, st.randoms(use_true_random=False))
def test_placed_words_never_cross_those_that_were_not(
    parts: list[tuple[int, int, bool]], chance: random.Random
) -> None:
    given_words: list[Heard] = []
    at = 0
    for gap, length, _ in parts:
        given_words.append(word("x", at + gap, at + gap + length))
        at += gap + length
    edges = sorted(chance.sample(range(1 + 3 * at + 2 * len(parts)), 2 * len(parts)))
    placed = [
        word("x", edges[2 * i], edges[2 * i + 1], True) if part[2] else given_words[i]
        for i, part in enumerate(parts)
    ]
    kept = in_order(placed, given_words)
    assert all(left.span.stop_us <= right.span.start_us for left, right in pairwise(kept))
    assert all(k in (p, g) for k, p, g in zip(kept, placed, given_words, strict=True))


def test_a_time_is_believed_near_the_recognisers_or_inside_a_word_that_is_too_long() -> None:
    said = Span(2_000 * MS, 2_400 * MS)
    assert believed(said, Span(2_500 * MS, 2_700 * MS))
    assert not believed(said, Span(2_700 * MS, 2_900 * MS))
    assert not believed(said, Span(2_000 * MS, 3_700 * MS))
    assert believed(Span(0, 20_000 * MS), Span(7_000 * MS, 7_300 * MS))
    assert not believed(Span(0, 20_000 * MS), Span(19_900 * MS, 20_300 * MS))


def test_an_aligner_that_is_not_installed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match="pocketsphinx"):
        open_aligner()


def meeting(name: str) -> tuple[Sound, list[Heard]]:
    """A clip and its words as people timed them."""
    path = AMI / f"{name}.wav"
    if not path.is_file():
        pytest.skip("needs shared/data/ami30")
    with wave.open(str(path)) as file:
        sound = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32) / np.float32(
            32768
        )
    told, _ = read_sidecars([path.with_suffix(".json")], 10**12)
    timed = sorted((w.span, w.text) for w in told.words or () if w.span)
    return sound, [Heard(span, text, 1.0) for span, text in timed]


def align(sound: Sound, words: list[Heard]) -> list[Heard]:
    def read(start_us: int, stop_us: int) -> Sound:
        return sound[start_us * RATE_HZ // 1_000_000 : stop_us * RATE_HZ // 1_000_000]

    return PocketSphinx()(words, read)


def shifted(words: list[Heard], by_us: list[int]) -> list[Heard]:
    """The words with each start moved, still in order and without overlap."""
    starts = [max(0, w.span.start_us + by) for w, by in zip(words, by_us, strict=True)]
    starts = list(np.maximum.accumulate(np.array(starts, np.int64)))
    return [
        Heard(
            Span(int(start), max(int(start) + 20 * MS, min(int(after), int(start) + w.span.duration_us))),
            w.written,
            1.0,
        )
        for w, start, after in zip(words, starts, [*starts[1:], 10**12], strict=True)
    ]


def test_words_whose_times_are_off_are_found_where_people_heard_them() -> None:
    """Edges moved by up to 0.25 s, which a recogniser gets wrong, come back within two frames."""
    pytest.importorskip("pocketsphinx")
    sound, truth = meeting("EN2003a_000-030")
    chance = random.Random(5)
    moved = shifted(truth, [chance.randrange(-250 * MS, 250 * MS) for _ in truth])
    found = align(sound, moved)
    sure = [(t, f) for t, f in zip(truth, found, strict=True) if f.aligned]
    assert len(sure) >= 0.7 * len(truth)
    errors = sorted(abs(t.span.start_us - f.span.start_us) for t, f in sure)
    assert errors[len(errors) // 2] <= 25 * MS
    assert [f.written for f in found] == [t.written for t in truth]
    assert found == align(sound, moved)


def test_what_cannot_be_aligned_keeps_its_time_and_is_not_called_sure() -> None:
    pytest.importorskip("pocketsphinx")
    noise = (np.random.default_rng(3).standard_normal(4 * RATE_HZ) * 0.05).astype(np.float32)
    words = [word("привет", 500, 900), word("y" * 200, 900, 1200), word("…", 1200, 1400)]
    assert align(noise, words) == words
    short = align(noise[: RATE_HZ // 100], [word("hello", 0, 10)])
    assert short == [word("hello", 0, 10)]
    assert align(noise, []) == []
