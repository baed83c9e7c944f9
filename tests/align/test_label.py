"""Cues by their definitions in docs/cues.md."""

from __future__ import annotations

import cProfile
import json
import random
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.align.label import label_cues
from corpus.schemas.conversation import Conversation, Turn, Word
from corpus.schemas.settings import CueSettings
from corpus.schemas.span import Span, intersect, union

MS = 1000


def conversation(
    *talk: tuple[str, int, int], words: tuple[tuple[str, int, int, str], ...] = ()
) -> Conversation:
    """A conversation from (speaker, start, stop) and words, in milliseconds."""
    return Conversation(
        recording="r",
        duration_us=3_600_000 * MS,
        speakers=("A", "B", "C"),
        turns=tuple(Turn(speaker=s, start_us=a * MS, stop_us=b * MS) for s, a, b in talk),
        words=tuple(Word(speaker=s, start_us=a * MS, stop_us=b * MS, text=t) for s, a, b, t in words),
    )


def found(told: Conversation, name: str) -> list[tuple[str, str | None, int, int]]:
    cues = label_cues(told, CueSettings())
    return [(c.kind, c.speaker, c.start_us // MS, c.stop_us // MS) for c in cues if c.label == name]


def test_a_shift_is_a_yield_of_who_talked() -> None:
    told = conversation(("A", 0, 2000), ("B", 2300, 4000))
    assert found(told, "yield") == [("turn_end", "A", 2000, 2300)]
    assert found(told, "hold") == []
    assert found(conversation(("A", 0, 2000), ("B", 2240, 4000)), "yield") == []
    assert found(conversation(("A", 0, 2000), ("B", 2300, 3200)), "yield") == []


def test_giving_way_while_both_talk_is_a_yield_too() -> None:
    told = conversation(("A", 0, 2400), ("B", 2000, 4000))
    assert found(told, "yield") == [("overlap", "A", 2000, 2400)]
    assert found(told, "overlap") == [("simultaneous", "B", 2000, 2400)]


def test_a_pause_after_which_one_goes_on_is_a_hold() -> None:
    assert found(conversation(("A", 0, 2000), ("A", 2300, 4000)), "hold") == [("pause", "A", 2000, 2300)]
    # the bridge of 200 ms makes one unit of it
    assert found(conversation(("A", 0, 2000), ("A", 2200, 4000)), "hold") == []
    assert found(conversation(("A", 0, 2000), ("B", 2100, 2200), ("A", 2300, 4000)), "hold") == []


def test_an_interruption_takes_the_floor_or_not() -> None:
    takes = conversation(("A", 0, 3000), ("B", 2000, 5000))
    assert found(takes, "interruption") == [("floor_taking", "B", 2000, 3000)]
    fails = conversation(("A", 0, 5000), ("B", 2000, 3200))
    assert found(fails, "interruption") == [("butting_in", "B", 2000, 3200)]
    # an ordinary change of speaker overlaps by less than half a second
    assert found(conversation(("A", 0, 3000), ("B", 2600, 5000)), "interruption") == []
    assert found(conversation(("A", 0, 5000), ("B", 2000, 2900)), "interruption") == []


def test_a_backchannel_is_short_and_apart_or_of_the_list() -> None:
    told = conversation(("A", 0, 9000), ("B", 3000, 3400))
    assert found(told, "backchannel") == [("geometric", "B", 3000, 3400)]
    yeah = conversation(("A", 0, 9000), ("B", 3000, 3400), words=(("B", 3000, 3400, "Yeah"),))
    assert found(yeah, "backchannel") == [("lexical", "B", 3000, 3400)]
    answer = conversation(("A", 0, 9000), ("B", 3000, 3400), words=(("B", 3000, 3400, "seven"),))
    assert found(answer, "backchannel") == []
    assert found(conversation(("B", 3000, 3400)), "backchannel") == []
    near = conversation(("A", 0, 9000), ("B", 3000, 3400), ("B", 4000, 6000))
    assert found(near, "backchannel") == []


def test_a_filled_pause_is_a_word_of_the_list_at_its_own_time() -> None:
    words = (("A", 0, 300, "so"), ("A", 400, 700, "Um,"), ("A", 800, 900, "mm"), ("B", 5000, 5300, "Mm"))
    told = conversation(("A", 0, 900), ("B", 5000, 5300), words=words)
    fillers = [one for one in found(told, "hesitation") if one[0] == "filled_pause"]
    assert fillers == [("filled_pause", "A", 400, 700), ("filled_pause", "A", 800, 900)]


def test_every_cue_carries_thresholds_and_origin() -> None:
    told = conversation(("A", 0, 9000), ("B", 3000, 3400), ("B", 8000, 12000), ("A", 12300, 14000))
    cues = label_cues(told, CueSettings(overlap_shortest_us=50_000))
    assert {cue.label for cue in cues} == {"overlap", "backchannel", "interruption", "yield"}
    for cue in cues:
        thresholds = json.loads(cue.thresholds)
        assert thresholds and thresholds.keys() <= CueSettings.__dataclass_fields__.keys()
        assert not thresholds.keys() & json.loads(cue.evidence).keys()
        name, _, version = cue.origin.partition("/")
        assert name and version.isdigit()
    overlap = next(cue for cue in cues if cue.label == "overlap")
    assert (overlap.speaker, overlap.partner) == ("B", "A")
    assert json.loads(overlap.evidence) == {"duration_us": 400_000}
    assert json.loads(overlap.thresholds) == {"overlap_shortest_us": 50_000}


turn_lists = st.lists(
    st.builds(
        lambda s, a, n: Turn(speaker=s, start_us=a * MS, stop_us=(a + n) * MS),
        st.sampled_from("ABC"),
        st.integers(0, 20_000),
        st.integers(1, 4_000),
    ),
    max_size=14,
)
word_lists = st.lists(
    st.builds(
        lambda s, a, n, t: Word(speaker=s, start_us=a * MS, stop_us=(a + n) * MS, text=t),
        st.sampled_from("ABC"),
        st.integers(0, 20_000),
        st.integers(0, 500),
        st.sampled_from(["um", "mm", "yeah", "house"]),
    ),
    max_size=10,
)


def told_by(turns: list[Turn], words: list[Word]) -> Conversation:
    return Conversation(
        recording="r",
        duration_us=30_000_000,
        speakers=("C", "A", "B"),
        turns=tuple(turns),
        words=tuple(words),
    )


@settings(max_examples=150)
@given(turn_lists)
def test_overlap_cues_cover_what_two_speakers_share(turns: list[Turn]) -> None:
    cues = [cue for cue in label_cues(told_by(turns, []), CueSettings()) if cue.label == "overlap"]
    for left, right in combinations("ABC", 2):
        shared = intersect(*([t.span for t in turns if t.speaker == name] for name in (left, right)))
        pair = [cue for cue in cues if {cue.speaker, cue.partner} == {left, right}]
        assert [cue.span for cue in pair] == [span for span in shared if span.duration_us >= 100_000]
        assert union(cue.span for cue in pair) == [cue.span for cue in pair]


@settings(max_examples=100)
@given(turn_lists, word_lists, st.randoms(use_true_random=False))
def test_cues_do_not_depend_on_the_order_of_the_input(
    turns: list[Turn], words: list[Word], shuffle: random.Random
) -> None:
    first = label_cues(told_by(turns, words), CueSettings())
    shuffle.shuffle(turns)
    shuffle.shuffle(words)
    assert label_cues(told_by(turns, words), CueSettings()) == first


@settings(max_examples=100)
@given(turn_lists)
def test_yields_and_holds_fit_their_definition(turns: list[Turn]) -> None:
    """Against the definition asked millisecond by millisecond."""
    cues = label_cues(told_by(turns, []), CueSettings())
    talk = {n: union((t.span for t in turns if t.speaker == n), bridge_us=200_000) for n in "ABC"}

    def talking(time_us: int) -> set[str]:
        return {name for name, spans in talk.items() if any(time_us in span for span in spans)}

    for cue in cues:
        if cue.label not in ("yield", "hold"):
            continue
        taker = cue.partner or cue.speaker
        between = {cue.speaker, taker} if cue.kind == "overlap" else set()
        for step in range(0, 1_000_000, 50_000):
            assert talking(cue.start_us - 1 - step) == {cue.speaker}
            assert talking(cue.stop_us + step) == {taker}
        assert all(talking(time) == between for time in range(cue.start_us, cue.stop_us, 50_000))


def test_time_to_label_grows_with_the_recording() -> None:
    def turns(hours: int) -> Conversation:
        numbers = random.Random(3)
        made = [
            Turn(
                speaker=numbers.choice("ABC"), start_us=start, stop_us=start + numbers.randrange(1, 4_000_000)
            )
            for start in (numbers.randrange(hours * 3_600_000_000) for _ in range(hours * 1_000))
        ]
        return told_by(made, [])

    def calls(told: Conversation) -> int:
        profile = cProfile.Profile()
        profile.runcall(label_cues, told, CueSettings())
        return sum(entry.callcount for entry in profile.getstats())

    calls(turns(1))  # what is made once a process
    # As lively, ten times as long: linear is 10, quadratic 100. Calls: seconds depend on other load.
    assert calls(turns(10)) < 12 * calls(turns(1))


def test_settings_out_of_range_are_told() -> None:
    with pytest.raises(Exception, match="interruption_overlap_us"):
        CueSettings(interruption_overlap_us=-1)


def test_an_empty_conversation_has_no_cues() -> None:
    assert label_cues(told_by([], []), CueSettings()) == []
    assert Span(0, 0) not in [cue.span for cue in label_cues(told_by([], []), CueSettings())]
