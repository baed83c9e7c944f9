from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from corpus.pipeline.floor import Floor, floor_of, talking_us
from corpus.schemas.conversation import Turn


def turns(text: str) -> list[Turn]:
    """`A 0 10, B 15 20`: tenths of a second."""
    parts = [part.split() for part in text.split(",") if part.strip()]
    return [Turn(speaker=s, start_us=int(a) * 100_000, stop_us=int(b) * 100_000) for s, a, b in parts]


def test_gap_pause_and_transfer() -> None:
    # A ....1s  gap 0.5  B 1s  pause 0.6  B 1s  gap 0.3  A
    floor = floor_of(turns("A 0 10, B 15 25, B 31 41, A 44 50"))
    assert floor.gaps_us == (500_000, 300_000)
    assert floor.pauses_us == (600_000,)
    assert floor.offsets_us == (500_000, 300_000)
    assert floor.units_us == (1_000_000, 1_000_000, 1_000_000, 600_000)
    assert floor.longest_monologue_us == 2_600_000


def test_overlap_between_is_a_negative_offset_and_overlap_within_is_none() -> None:
    # B talks inside A's turn (backchannel), then takes over while A still talks
    floor = floor_of(turns("A 0 50, B 20 24, B 46 80"))
    assert floor.overlaps_within_us == (400_000,)
    assert floor.overlaps_between_us == (400_000,)
    assert floor.offsets_us == (-400_000,)
    assert floor.longest_monologue_us == 4_600_000


def test_silence_and_overlap_together_are_unclear() -> None:
    # A, silence, both at once, B alone
    floor = floor_of(turns("A 0 10, A 15 20, B 15 30"))
    assert (floor.unclear, floor.offsets_us, floor.gaps_us) == (1, (), ())


def test_a_transfer_without_any_time_between_has_offset_zero() -> None:
    floor = floor_of(turns("A 0 10, B 10 20"))
    assert (floor.offsets_us, floor.gaps_us, floor.overlaps_between_us) == ((0,), (), ())


def test_short_silences_are_inside_a_unit() -> None:
    assert floor_of(turns("A 0 10, A 12 20")).units_us == (2_000_000,)
    assert floor_of(turns("A 0 10, A 13 20")).pauses_us == (300_000,)


def test_three_speakers() -> None:
    # B and C talk over A; B keeps the floor
    floor = floor_of(turns("A 0 20, B 15 40, C 16 18"))
    assert (floor.offsets_us, floor.overlaps_between_us) == ((-500_000,), (500_000,))


def test_nothing() -> None:
    assert floor_of([]) == Floor()
    assert talking_us([]) == (0, 0)


def test_talking_time_by_hand() -> None:
    assert talking_us(turns("A 0 10, A 5 12, B 10 20, B 30 31")) == (2_100_000, 200_000)


SPEECH = st.lists(st.tuples(st.sampled_from("ABC"), st.integers(0, 60), st.integers(0, 20)), max_size=12)


@given(SPEECH)
def test_talking_time_against_counting_ticks(speech: list[tuple[str, int, int]]) -> None:
    made = [Turn(speaker=s, start_us=a, stop_us=a + n) for s, a, n in speech]
    talkers = [{t.speaker for t in made if tick in t.span} for tick in range(100)]
    assert talking_us(made) == (sum(len(t) > 0 for t in talkers), sum(len(t) > 1 for t in talkers))


@given(SPEECH)
def test_mirrored_in_time_the_lengths_are_the_same(speech: list[tuple[str, int, int]]) -> None:
    """A pause, gap or overlap has no direction; only who yields to whom has."""
    there = floor_of([Turn(speaker=s, start_us=a, stop_us=a + n) for s, a, n in speech], bridge_us=2)
    back = floor_of(
        [Turn(speaker=s, start_us=100 - a - n, stop_us=100 - a) for s, a, n in speech], bridge_us=2
    )
    for name in (
        "units_us",
        "pauses_us",
        "gaps_us",
        "overlaps_between_us",
        "overlaps_within_us",
        "offsets_us",
    ):
        assert sorted(getattr(there, name)) == sorted(getattr(back, name)), name
    assert there.unclear == back.unclear
