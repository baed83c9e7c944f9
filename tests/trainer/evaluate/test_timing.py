"""Timing measures against cases worked by hand. A letter is a window: # speaks, . is silent."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus.trainer.evaluate.baselines import copy, silent, timer, unigram
from corpus.trainer.evaluate.timing import (
    actions,
    answer_stop,
    backchannels,
    false_starts,
    latency_windows,
    runs,
    stop_windows,
    take_over,
    timing_distance,
)


def flags(drawn: str) -> np.ndarray:
    return np.array([letter == "#" for letter in drawn])


def words(drawn: str) -> np.ndarray:
    return np.array([int(letter) if letter.isdigit() else 0 for letter in drawn])


@given(st.lists(st.booleans(), max_size=40))
def test_runs_are_the_stretches(values: list[bool]) -> None:
    found = runs(np.array(values, bool))
    rebuilt = [False] * len(values)
    for start, stop in found:
        assert start < stop
        rebuilt[start:stop] = [True] * (stop - start)
    assert rebuilt == values
    assert all(a[1] < b[0] for a, b in pairwise(found))


@pytest.mark.parametrize(
    ("drawn", "said", "taken", "onset"),
    [
        ("..........", "..........", False, None),
        ("...####...", "...1......", False, 3),  # 0.8 s, one word
        ("...#####..", "...1......", True, 3),  # 1 s
        ("...##.....", "...4......", True, 3),  # four words in 0.4 s
        ("...##.....", "...3......", False, 3),
        ("..#....#..", "..1....1..", True, 2),  # first to last 1.2 s, as the published scripts span it
        (".####.....", ".1........", False, 1),  # begun before the window looked at
        ("#########.", "1.........", True, 0),
        ("##......##", "1.......1.", False, None),  # neither touches it
    ],
)
def test_take_over_between_windows_2_and_8(drawn: str, said: str, taken: bool, onset: int | None) -> None:
    found = take_over(flags(drawn), words(said), 2, 8)
    assert (found.taken, found.onset) == (taken, onset)


def test_a_short_word_after_a_take_over_does_not_undo_it() -> None:
    """The published script lets the last segment decide: a 2 s take-over, then "yeah", gives 0 there."""
    drawn = flags("..##########....##..")
    assert take_over(drawn, np.zeros(20, np.int64), 0, 20).taken


@pytest.mark.parametrize(
    ("drawn", "latency"),
    [("......#####....", 2), ("....######.....", 0), ("..########.....", 0), ("......##.......", None)],
)
def test_latency_from_the_end_in_window_4(drawn: str, latency: int | None) -> None:
    found = take_over(flags(drawn), np.zeros(15, np.int64), 4, 12)
    assert latency_windows(found, 4) == latency


def test_answers_are_looked_for_until_the_other_goes_on() -> None:
    """And one window longer: what is decided in the last silent window is heard in the next."""
    #               0123456789
    other = flags("####.....##" + "." * 40)
    assert answer_stop(other, 3) == 10
    assert answer_stop(other, 10) == 35
    assert answer_stop(other[:20], 10) == 20


def test_backchannels_are_short_and_while_the_other_talks() -> None:
    #              0         1         2
    #              012345678901234567890123456789
    other = flags("########...########...####....")
    drawn = flags(".##.....#..#####......####....")
    said = words("1...............................")[:30]
    # 1-2: yes. 8: in the window after the other's, 1 s apart from it: yes. 11-15: 1 s, no. 22-25: yes.
    drawn[11:14] = False
    drawn[14:16] = True
    assert backchannels(drawn, said, other) == [(1, 3), (8, 9), (14, 16), (22, 26)]
    said = words(".3....................2.......")
    assert backchannels(drawn, said, other) == [(8, 9), (14, 16), (22, 26)]
    drawn[13] = True  # 0.8 s after the one before: neither is set apart
    assert backchannels(drawn, said, other) == [(22, 26)]
    assert backchannels(flags("..........#..................."), said, other) == []


def test_false_starts_are_given_up_while_the_other_talks() -> None:
    #              0         1         2         3
    #              0123456789012345678901234567890123456789
    other = flags("##########################..............")
    drawn = flags(".##...#.......####......####........#...")
    said = words("......................................" + "..")
    # 1-2 and 6 are 0.6 s apart: neither is a backchannel. 14-17 is one. 24-27 outlasts the other.
    assert backchannels(drawn, said, other) == [(14, 18), (24, 28)]
    assert false_starts(drawn, said, other) == [(1, 3), (6, 7)]
    said[14] = 3  # three words are no backchannel
    assert false_starts(drawn, said, other) == [(1, 3), (6, 7), (14, 18)]
    assert false_starts(flags("#####" + "." * 35), said, other) == []  # 1 s: a take-over
    assert false_starts(other, said, ~other) == []


def test_timing_distance() -> None:
    """Of the windows that are filled, as the published script counts them, not of the onsets."""
    assert timing_distance([], [(3, 5)], 10) == 1.0
    assert timing_distance([(3, 4), (7, 9)], [(7, 9), (3, 4)], 10) == 0.0
    # Nothing in common: the square root of ln 2.
    assert timing_distance([(3, 4)], [(4, 6)], 10) == pytest.approx(0.8325546, abs=1e-7)
    # p = (1, 0), q = (1/2, 1/2), m = (3/4, 1/4): [ln(4/3) + (ln(2/3) + ln 2) / 2] / 2
    expected = math.sqrt((math.log(4 / 3) + (math.log(2 / 3) + math.log(2)) / 2) / 2)
    assert timing_distance([(5, 6)], [(5, 7)], 10) == pytest.approx(expected)


def test_timing_distance_is_scipys() -> None:
    spatial = pytest.importorskip("scipy.spatial.distance")
    rng = np.random.default_rng(0)
    for _ in range(20):
        a, b = ([(int(x), int(x) + 3) for x in rng.integers(0, 27, many)] for many in (8, 5))
        hist_a, hist_b = (np.bincount([w for run in x for w in range(*run)], minlength=30) for x in (a, b))
        assert timing_distance(a, b, 30) == pytest.approx(spatial.jensenshannon(hist_a, hist_b))


def test_stopping() -> None:
    drawn = flags("..######....")
    assert stop_windows(drawn, 4) == 4
    assert stop_windows(drawn, 2) == 6
    assert stop_windows(drawn, 7) == 1
    assert stop_windows(drawn, 8) is None
    assert stop_windows(drawn, 0) is None
    # The clip ends while it speaks: nobody knows when it stopped.
    assert stop_windows(drawn[:7], 4) == math.inf


#                    0         1         2
#                    0123456789012345678901234
REFERENCE = flags("....###.......##.........")


@pytest.mark.parametrize(
    ("drawn", "told", "met", "kept", "errors"),
    [
        ("....###.......##.........", False, 2, 3, (0, 0)),
        ("....###.......##.........", True, 2, 3, (0, 0)),
        (".........................", False, 0, 3, (math.inf, math.inf)),
        # One window late each: met running freely; no merit when told.
        (".....###.......##........", False, 2, 3, (1, 1)),
        (".....###.......##........", True, 0, 3, (math.inf, 9)),
        # Two early and two late: neither, and both speak in a silence.
        ("..#####.........##.......", False, 0, 1, (2, 2)),
        # A false start in the middle of a silence.
        ("....###...#...##.........", False, 2, 2, (0, 0)),
        ("....###...#...##......#..", True, 2, 1, (0, 0)),
        # To speak all the time keeps no silence, whether or not a run begins in it.
        ("#########################", False, 0, 0, (4, math.inf)),
        # Seven windows longer than the person.
        ("....##########....##.....", False, 1, 1, (0, 4)),
    ],
)
def test_actions(drawn: str, told: bool, met: int, kept: int, errors: tuple[float, ...]) -> None:
    found = actions(flags(drawn), REFERENCE, told=told)
    assert (found.onsets, found.met, found.silences, found.kept) == (2, met, 3, kept)
    assert found.errors == errors


def test_copy_and_silence_deserve_nothing() -> None:
    """Copying the person's last window looks nearly right frame by frame; no onset is met."""
    assert actions(copy(REFERENCE), REFERENCE, told=True).met == 0
    assert actions(silent(25), REFERENCE, told=False).met == 0
    assert np.array_equal(copy(REFERENCE), flags(".....###.......##........"))


def test_the_timer_waits_700_ms() -> None:
    """The other stops with frame 3 of window 4: 28 silent frames are full within window 7, so it is
    heard in window 8, ten windows long or until the other speaks."""
    other = np.zeros((30, 8), bool)
    other[2:4] = True
    other[4, :4] = True
    assert runs(timer(other)) == [(8, 18)]
    other[12, 7] = True
    # The other's 25 ms end in window 12; window 13 is silent again, and 700 ms later it speaks once more.
    assert runs(timer(other)) == [(8, 13), (17, 27)]
    assert not timer(np.zeros((30, 8), bool)).any()


def test_unigram_speaks_as_often_as_told_and_the_same_each_time() -> None:
    drawn = unigram(5000, 0.3, "clip/0")
    assert abs(drawn.mean() - 0.3) < 0.02
    assert np.array_equal(drawn, unigram(5000, 0.3, "clip/0"))
    assert not np.array_equal(drawn, unigram(5000, 0.3, "clip/1"))
