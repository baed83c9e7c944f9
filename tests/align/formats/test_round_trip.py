"""Every format out and in again: the same conversation up to the format's own precision."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.align.formats.write import FORMATS
from corpus.align.sidecars import read_sidecars
from corpus.schemas.conversation import Conversation, Event, Turn, Word

UNIT_US = {"srt": 1000, "vtt": 1000, "eaf": 1000}
TURNS = ("conversation", "rttm", "stm", "srt", "vtt", "textgrid", "eaf", "whisperx", "emilia", "label-studio")
TIMED_WORDS = ("conversation", "ctm", "textgrid", "eaf", "moshi", "whisperx")
TEXTS = ("stm", "srt", "vtt", "emilia", "label-studio")
PLAIN = st.text("abcxyzÄßжあ", min_size=1, max_size=6)
STRANGE = st.text("aB \t\n\"'&<>[]:;#{}|\x85é\u2028", min_size=1, max_size=8).filter(str.strip)
LONGEST = 120_000


@st.composite
def talks(draw: st.DrawFn, names: st.SearchStrategy[str], unit_us: int) -> Conversation:
    """Turns of a speaker follow each other; those of others may lie over them; words fill them in part."""
    speakers = draw(st.lists(names, min_size=1, max_size=3, unique=True))
    turns: list[Turn] = []
    words: list[Word] = []
    for speaker in speakers:
        edges = draw(st.lists(st.integers(0, LONGEST), min_size=2, max_size=8, unique=True))
        edges = sorted(edges)
        for start, stop in zip(edges[::2], edges[1::2], strict=False):
            times = {"start_us": start * unit_us, "stop_us": stop * unit_us}
            turns.append(Turn(speaker=speaker, **times))
            inner = sorted(draw(st.sets(st.integers(start, stop), max_size=4)))
            for left, right in itertools.pairwise(inner):
                at = {"start_us": left * unit_us, "stop_us": right * unit_us}
                after, sure = draw(st.sampled_from(["", "?", ","])), draw(st.sampled_from([None, 0.25, 1.0]))
                words.append(Word(speaker=speaker, text=draw(PLAIN), after=after, confidence=sure, **at))
    words.sort(key=lambda word: word.start_us or 0)
    turns.sort(key=lambda turn: (turn.start_us, turn.stop_us, turn.speaker))
    used = dict.fromkeys(turn.speaker for turn in turns)
    length_us = (LONGEST + 1) * unit_us
    return Conversation(
        recording="x", duration_us=length_us, speakers=tuple(used), turns=tuple(turns), words=tuple(words)
    )


def there_and_back(talk: Conversation, name: str, folder: Path) -> tuple[list[Turn], list[Word], set[str]]:
    text, told = FORMATS[name].write(talk)
    path = folder / ("x" + FORMATS[name].ending)
    path.write_bytes(text.encode())
    found, drops = read_sidecars([path], talk.duration_us)
    assert [drop for drop in drops if drop.kind == "fault"] == []
    return list(found.turns or ()), list(found.words or ()), {drop.code for drop in told}


def bare(turns: list[Turn]) -> list[tuple[str, int, int]]:
    return sorted((turn.speaker, turn.start_us, turn.stop_us) for turn in turns)


def timed(words: list[Word]) -> list[tuple[str, int | None, int | None, str]]:
    return sorted((word.speaker, word.start_us, word.stop_us, word.text + word.after) for word in words)


def texts(words: list[Word]) -> list[tuple[str, str]]:
    """Each speaker's words in order."""
    return sorted(
        (name, " ".join(w.text + w.after for w in words if w.speaker == name))
        for name in {w.speaker for w in words}
    )


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "uem"])
def test_a_conversation_comes_back(name: str, tmp_path: Path) -> None:
    @settings(max_examples=15)
    @given(talks(PLAIN, UNIT_US.get(name, 1)))
    def check(talk: Conversation) -> None:
        turns, words, told = there_and_back(talk, name, tmp_path)
        assert "renamed" not in told
        if name in TURNS:
            assert bare(turns) == bare(list(talk.turns))
        if name in TIMED_WORDS:
            assert timed(words) == timed(list(talk.words))
        if name in TEXTS:
            assert texts(words) == texts(list(talk.words))
        if name in ("conversation", "ctm", "whisperx"):
            assert sorted(repr(w.confidence) for w in words) == sorted(repr(w.confidence) for w in talk.words)

    check()


@pytest.mark.parametrize("name", TURNS[1:])
def test_strange_names_come_back_or_are_told(name: str, tmp_path: Path) -> None:
    @settings(max_examples=15)
    @given(talks(STRANGE, UNIT_US.get(name, 1)))
    def check(talk: Conversation) -> None:
        turns, words, told = there_and_back(talk, name, tmp_path)
        times = sorted((turn.start_us, turn.stop_us) for turn in talk.turns)
        assert sorted((turn.start_us, turn.stop_us) for turn in turns) == times
        same = {turn.speaker for turn in turns} == set(talk.speakers)
        assert same or "renamed" in told
        assert len({turn.speaker for turn in turns}) == len(talk.speakers)
        assert len(words) == len(talk.words) or name not in (*TIMED_WORDS, *TEXTS)

    check()


ODD_WORDS = (
    *(
        "{",
        "}",
        "/",
        "[x]",
        "[x",
        "x]",
        "(y)",
        "(y",
        "-",
        "–",
        ">>",
        "%um",
        "%hes",
        "%",
        "@",
        "*",
        "_",
        "♪",
        "?",
    ),
    *(
        "<b>",
        "</b>me",
        "<b",
        "<v_A>",
        "<NA>",
        "Ann:",
        "[Ann]:",
        "&gt;&gt;",
        "-->",
        "NOTE",
        "WEBVTT",
        ";",
        "#",
        '"',
    ),
    *("inter_segment_gap", "x" * 200, "a b", "日本", "5"),
)


@pytest.mark.parametrize("name", [*TIMED_WORDS, *TEXTS])
def test_odd_words_come_back_or_are_told(name: str, tmp_path: Path) -> None:
    """Each word alone in a turn, between others in a second one, and all in a third."""
    turns, words = [], []
    for at, odd in enumerate(
        (*((odd,) for odd in ODD_WORDS), *(("a", odd, "b") for odd in ODD_WORDS), ODD_WORDS)
    ):
        turns.append(Turn(speaker="A", start_us=at * 10**6, stop_us=at * 10**6 + 900_000))
        for place, text in enumerate(odd):
            start_us = at * 10**6 + place * 10_000
            words.append(Word(speaker="A", start_us=start_us, stop_us=start_us + 10_000, text=text))
    for one in turns:
        own = tuple(word for word in words if one.start_us <= (word.start_us or 0) < one.stop_us)
        talk = Conversation(recording="x", duration_us=10**9, speakers=("A",), turns=(one,), words=own)
        text, told = FORMATS[name].write(talk)
        path = tmp_path / ("x" + FORMATS[name].ending)
        path.write_bytes(text.encode())
        found, drops = read_sidecars([path], talk.duration_us)
        assert [drop for drop in drops if drop.kind == "fault"] == []
        known = sum(drop.count for drop in told if drop.code.startswith(("looks_like", "empty")))
        assert 0 <= len(own) - len(found.words or ()) <= known, [word.text for word in own]


@settings(max_examples=20)
@given(edges=st.lists(st.integers(0, 60_000_000), max_size=8, unique=True))
def test_what_was_annotated_comes_back_as_uem(
    edges: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    edges = sorted(edges)
    spans = list(zip(edges[::2], edges[1::2], strict=False))
    unscored = tuple(
        Event(label="unscored", kind="uem", speaker=None, start_us=start, stop_us=stop, origin="x.uem")
        for start, stop in spans
    )
    talk = Conversation(recording="x", duration_us=60_000_001, speakers=(), events=unscored)
    path = tmp_path_factory.mktemp("uem") / "x.uem"
    path.write_text(FORMATS["uem"].write(talk)[0])
    found, drops = read_sidecars([path], talk.duration_us)
    assert (found.events, drops) == (unscored, [])


def test_words_outside_turns_and_without_times_are_told(tmp_path: Path) -> None:
    times = {"start_us": 5_000_000, "stop_us": 6_000_000}
    word = Word(speaker="A", text="late", **times)
    unknown = replace(word, start_us=None, stop_us=None, timing="unknown")
    mark, parted = replace(word, text="[laugh]"), replace(word, text="New York")
    talk = Conversation(
        recording="x", duration_us=9_000_000, speakers=("A",), words=(word, unknown, mark, parted)
    )
    turns, words, told = there_and_back(talk, "vtt", tmp_path)
    assert bare(turns) == [("A", 5_000_000, 6_000_000)]
    assert texts(words) == [("A", "late New_York")]
    assert told == {"word_without_times", "word_outside_turn", "looks_like_a_mark", "word_with_spaces"}
