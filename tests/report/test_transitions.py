from __future__ import annotations

from itertools import groupby

from hypothesis import given
from hypothesis import strategies as st

from corpus.report.transitions import Transition, transitions
from corpus.schemas.conversation import Conversation, Turn
from corpus.schemas.span import Span, union
from corpus.schemas.turn_taking import (
    Monologue,
    State,
    longest_monologue,
    speech_by_speaker,
    speech_us,
    states,
)


def chain(turns: tuple[Turn, ...], bridge_us: int = 200_000) -> list[State]:
    speakers = tuple(sorted({turn.speaker for turn in turns}))
    talked = Conversation(recording="r", duration_us=5_000_000, speakers=speakers, turns=turns)
    return states(speech_by_speaker(talked, bridge_us=bridge_us))


def told(found: list[Transition]) -> list[tuple[str, str, str, int, int, int | None]]:
    return [
        (t.kind, t.from_speaker, t.to_speaker, t.start_us // 1000, t.stop_us // 1000, t.offset_us)
        for t in found
    ]


def test_a_conversation_worked_by_hand(hand_worked: tuple[Turn, ...]) -> None:
    found = chain(hand_worked)
    assert told(list(transitions(found))) == [
        ("pause", "A", "A", 1000, 1500, None),
        ("gap", "A", "B", 2000, 2300, 300_000),
        ("overlap_between", "B", "A", 3100, 3300, -200_000),
        ("overlap_within", "A", "A", 3550, 3750, None),
        ("gap", "A", "B", 4000, 4000, 0),
    ]
    assert speech_us(found) == (3_700_000, 400_000)
    assert longest_monologue(found) == Monologue(speaker="A", start_us=0, stop_us=2_000_000)


def test_a_silence_up_to_the_bridge_is_no_pause() -> None:
    def turns(silence_us: int) -> tuple[Turn, ...]:
        first = Turn(speaker="A", start_us=0, stop_us=1_000_000)
        start_us = 1_000_000 + silence_us
        return first, Turn(speaker="A", start_us=start_us, stop_us=start_us + 500_000)

    assert list(transitions(chain(turns(200_000)))) == []
    assert [t.kind for t in transitions(chain(turns(200_001)))] == ["pause"]


def test_two_who_end_together_leave_the_change_unclear() -> None:
    turns = (
        Turn(speaker="A", start_us=0, stop_us=1_000_000),
        Turn(speaker="B", start_us=500_000, stop_us=1_000_000),
        Turn(speaker="B", start_us=2_000_000, stop_us=3_000_000),
    )
    assert told(list(transitions(chain(turns)))) == [("unclear", "A", "B", 500, 2000, None)]


def test_nobody_talks() -> None:
    assert list(transitions([])) == []
    assert speech_us([]) == (0, 0)
    assert longest_monologue([]) is None


spans = st.lists(
    st.tuples(st.integers(0, 40), st.integers(1, 12)).map(lambda pair: Span(pair[0], sum(pair))), max_size=5
)


@given(st.fixed_dictionaries({"A": spans, "B": spans, "C": spans}))
def test_tick_by_tick_the_same(talked: dict[str, list[Span]]) -> None:
    found = {name: union(said) for name, said in talked.items() if said}
    ticks = [
        frozenset(name for name, said in found.items() if any(tick in span for span in said))
        for tick in range(60)
    ]
    runs = [(who, len(list(group))) for who, group in groupby(ticks)]
    slow: list[tuple[str, str, str, int]] = []
    before, between = None, list[tuple[frozenset[str], int]]()
    for who, length in runs:
        if len(who) != 1:
            between.append((who, length))
            continue
        (name,) = who
        if before is not None:
            kinds = {bool(w) for w, _ in between}
            stays = name == before
            if kinds == {True, False}:
                kind = "unclear"
            elif kinds == {True}:
                kind = "overlap_within" if stays else "overlap_between"
            else:
                kind = "pause" if stays else "gap"
            slow.append((kind, before, name, sum(n for _, n in between)))
        before, between = name, []
    fast = [
        (t.kind, t.from_speaker, t.to_speaker, t.stop_us - t.start_us) for t in transitions(states(found))
    ]
    assert fast == slow
    assert speech_us(states(found)) == (sum(map(bool, ticks)), sum(len(who) > 1 for who in ticks))
