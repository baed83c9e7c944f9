"""Calibration worked by hand, and on processes whose probabilities are known."""

from __future__ import annotations

import numpy as np
import pytest

from corpus.schemas.clock import WINDOW_US
from corpus.trainer.evaluate.calibration import HORIZONS, Told, auc, horizon_sums
from corpus.trainer.evaluate.confidence import draws
from corpus.trainer.evaluate.timing_cases import Scene, Silence


def flags(drawn: str) -> np.ndarray:
    return np.array([letter == "#" for letter in drawn])


def scene(drawn: str, *, ends: tuple = (), pauses: tuple = (), unknown: tuple[int, ...] = ()) -> Scene:
    """Silences in windows, as (start, stop)."""
    human_W = flags(drawn)
    known_W = np.ones(len(human_W), bool)
    known_W[list(unknown)] = False
    silences = [
        tuple(Silence(start_us=round(a * WINDOW_US), stop_us=round(b * WINDOW_US)) for a, b in some)
        for some in (ends, pauses)
    ]
    return Scene(
        id="x",
        human_W=human_W,
        known_W=known_W,
        words_W=np.zeros(len(human_W), np.int64),
        other_WF=np.zeros((len(human_W), 8), bool),
        ends=silences[0],
        pauses=silences[1],
        backchannels=(),
        interrupted=(),
    )


def test_error_and_reliability_by_hand() -> None:
    #        window 0 is before the first answer, so p_0 is of window 1
    made = Told()
    made.add(scene(".#.#."), np.array([0.9, 0.95, 0.12, 0.18]), 1)
    found = made.result(draws(1)).bins
    # p in 0.9 to 1: 0.9 (spoke) and 0.95 (did not); in 0.1 to 0.2: 0.12 (spoke) and 0.18 (did not).
    assert [one.cases for one in found] == [0, 2, 0, 0, 0, 0, 0, 0, 0, 2]
    assert (found[9].p, found[9].spoken) == (pytest.approx(0.925), 0.5)
    assert (found[1].p, found[1].spoken) == (pytest.approx(0.15), 0.5)
    result = made.result(draws(1))
    assert result.ece.value == pytest.approx((0.425 + 0.35) / 2) and result.ece.cases == 4
    assert result.ece.low is None
    # Out of silence are the answers of windows 1 and 3: 0.9 and 0.12, both spoken.
    assert [one.cases for one in result.bins_silent] == [0, 1, 0, 0, 0, 0, 0, 0, 0, 1]
    assert result.ece_silent.value == pytest.approx((0.1 + 0.88) / 2)


def test_unknown_windows_are_no_cases() -> None:
    made = Told()
    made.add(scene(".#.#.", unknown=(2,)), np.array([0.9, 0.95, 0.12, 0.18]), 1)
    result = made.result(draws(1))
    assert result.ece.cases == 3
    # Out of silence: windows 1 and 3; within two windows none that does not reach window 2 or the end.
    assert [one.excess.cases for one in result.horizons[:2]] == [2, 1]


@pytest.mark.parametrize("delay", [0, 1, 2])
def test_p_is_of_the_window_it_answers(delay: int) -> None:
    """With any delay p that is right about its window has no error."""
    drawn = "..##..#..###.#."
    p_N = flags(drawn)[delay:].astype(float)
    made = Told()
    made.add(scene(drawn), p_N, delay)
    result = made.result(draws(1))
    assert result.ece.value == 0.0
    silent = sum((k == 0 or drawn[k - 1] == ".") for k in range(delay, len(drawn)))
    assert result.ece_silent.cases == silent


def test_horizons_by_hand() -> None:
    p = np.array([0.1, 0.2, 0.3, 0.4, 0.5])
    speak, before = flags("..##."), flags("...##")
    sums = horizon_sums(p, speak, before, np.ones(5, bool))
    # Starts out of silence: 0, 1, 2. One window: p 0.1, 0.2, 0.3; only 2 is an onset.
    assert sums[:, 0] == pytest.approx([3, 0.6, 1])
    # Two: 0.1 + 0.2; 0.2 + 0.3, onset; 0.3, onset at once.
    assert sums[:, 1] == pytest.approx([3, 0.3 + 0.5 + 0.3, 2])
    # Four: starts 0 and 1.
    assert sums[:, 3] == pytest.approx([2, 0.6 + 0.5, 2])
    assert sums[:, 5:].sum() == 0


def test_true_probabilities_have_no_excess_at_any_horizon() -> None:
    """Hazards that jump about and depend on how long it has been silent; to be 30 % too sure shows."""
    rng, right, sure = np.random.default_rng(0), Told(), Told()
    for _ in range(60):
        mood, quiet, spoken, p = rng.uniform(0.02, 0.2, 201), 0, [False], []
        for k in range(1, 201):
            p.append(0.7 if spoken[-1] else min(0.9, mood[k] + 0.02 * quiet))
            spoken.append(bool(rng.random() < p[-1]))
            quiet = 0 if spoken[-1] else quiet + 1
        drawn = scene("".join(".#"[one] for one in spoken))
        right.add(drawn, np.array(p), 1)
        sure.add(drawn, np.array(p) * 1.3, 1)
    result = right.result(draws(60))
    assert len(result.horizons) == HORIZONS
    for one in result.horizons:
        assert one.excess.low < 0 < one.excess.high
    assert result.ece.value < 0.02 and result.ece_silent.value < 0.02
    assert all(one.excess.high < 0 for one in sure.result(draws(60)).horizons)


def test_area_is_the_share_of_pairs_in_order() -> None:
    rng = np.random.default_rng(3)
    values, positive = rng.integers(0, 6, 30) / 5, rng.random(30) < 0.4
    documents = rng.integers(0, 8, 30)
    found = auc(values.tolist(), positive, documents, draws(8))
    pairs = [(a > b) + (a == b) / 2 for a in values[positive] for b in values[~positive]]
    assert found.value == pytest.approx(np.mean(pairs)) and found.cases == 30
    slow = []
    for drawn in draws(8):
        weights = drawn[documents]
        won = [
            (wa * wb * ((a > b) + (a == b) / 2), wa * wb)
            for a, wa in zip(values[positive], weights[positive], strict=True)
            for b, wb in zip(values[~positive], weights[~positive], strict=True)
        ]
        above, below = np.sum(won, axis=0)
        slow.append(above / below if below else np.nan)
    low, high = np.nanquantile(slow, (0.025, 0.975), method="inverted_cdf")
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))
    assert auc([0.5, 0.5], np.array([True, True]), np.array([0, 1]), draws(2)).value is None


def test_what_is_asked_at_a_silence_has_not_been_told_the_answer() -> None:
    """The other stops in window 6, at 6.4. The person answers in 8; the pause is over at 18.2."""
    drawn = "........####........"
    p = np.full(19, 0.5)
    p[[6, 7, 8, 16, 17, 18]] = [0.6, 0.7, 0.99, 0.2, 0.1, 0.0]
    made = Told()
    made.add(scene(drawn, ends=((6.4, 8.1),), pauses=((16.9, 18.2),)), p, 1)
    found = [(case.shift, case.lag, case.scores) for case in made.cases]
    # The end: asked in 6 and 7; in 8 the person speaks. The pause: in 16 and 17, whole up to their ends.
    assert [(shift, lag, scores["model"]) for shift, lag, scores in found] == [
        (True, 0, 0.6),
        (True, 1, 0.7),
        (False, 0, 0.2),
        (False, 1, 0.1),
    ]
    assert found[0][2]["heard"] == pytest.approx(0.6 * WINDOW_US) and found[1][2]["heard"] == 1.6 * WINDOW_US
    assert found[2][2]["whole"] == pytest.approx(1.3 * WINDOW_US)
    separated = {(one.score, one.lag): one for one in made.result(draws(1)).separation}
    assert separated["model", 0].auc.value == separated["model", 1].auc.value == 1.0
    assert (separated["model", 1].shifts, separated["model", 1].holds) == (1, 1)
    assert separated["model", 2].auc.value is None
