"""Whether the probability of speaking is calibrated, and whether it tells ends of turns from pauses.

Everything is teacher-forced: p of micro-turn i is the model's probability, knowing what everybody did up to
window i, that the person speaks in the window that it answers.

    ece           Expected calibration error (Guo et al. 2017): |mean p - share spoken| over ten bins of equal
                  width, weighted by their cases. `silent` covers only micro-turns before which the person was
                  silent, where p is the probability of an onset. Over all windows the error looks too small,
                  because continuing is easy to predict.
    horizons      Whether the person begins within h windows, out of silence. Each p is about a single window.
                  The probability of "within h" depends on what the others will do, and the product of h
                  values of p already contains that: binned, it would look calibrated or not for the wrong
                  reasons. But if the model is calibrated, p summed over the windows up to the onset, or up
                  to h, has the expectation of the number of onsets, 0 or 1 (optional stopping). So for h > 1
                  only the means of the two are compared, as `excess`; h = 1 has a reliability table.
    separation    At each silence after somebody else's speech: is p higher where the person spoke next
                  (shift) than where the other only paused (hold)? Area under the ROC curve, by ranks, with
                  ties counting half. p is taken in the window in which the speech ended, and `lag` windows
                  later if all were still silent up to the end of that one. There the model has heard equally
                  much of the silence in both cases, and does not know whether the person answered.

Two scores without a model are given for comparison: the silence `heard` so far, and the `whole` length of the
silence, which nobody knows at the time; it is the best that a timer could reach.

Training weights an onset more than continued silence; p is corrected for that (control.py).

Shape suffixes: N micro-turns, B draws, D documents, K bins, H horizons, U different values.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from corpus.schemas.arrays import BoolArray, Float64Array
from corpus.schemas.clock import WINDOW_US
from corpus.trainer.evaluate.confidence import Measure, counted, measure, ratio
from corpus.trainer.evaluate.timing_cases import Scene, Silence

BINS = 10
HORIZONS = 10
LAGS = 3
Score = Literal["model", "heard", "whole"]
SCORES: tuple[Score, ...] = ("model", "heard", "whole")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """Micro-turns whose p is in `[low, high)`; the last bin includes 1."""

    low: float
    high: float
    cases: int
    p: float | None
    """Mean p."""
    spoken: float | None
    """Share of micro-turns in which the person spoke."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Horizon:
    """Onsets within a number of windows, out of silence."""

    windows: int
    expected: float | None
    observed: float | None
    excess: Measure
    """Observed minus expected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Separation:
    score: Score
    lag: int
    """Windows after the one in which the other's speech ended."""
    shifts: int
    holds: int
    auc: Measure


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    ece: Measure
    ece_silent: Measure
    bins: tuple[Bin, ...]
    bins_silent: tuple[Bin, ...]
    horizons: tuple[Horizon, ...]
    separation: tuple[_Separation, ...]


@dataclass(slots=True)
class _Case:
    """A silence after somebody else's speech."""

    document: int
    shift: bool
    lag: int
    scores: dict[Score, float]


@dataclass(slots=True)
class Told:
    """Sums over documents of the model's teacher-forced probabilities."""

    bins: list[Float64Array] = field(default_factory=list)
    """Per document `[2, 3, K]`: after silence or after speech; cases, sum of p, spoken."""
    horizons: list[Float64Array] = field(default_factory=list)
    """Per document `[3, H]`: cases, expected, observed."""
    cases: list[_Case] = field(default_factory=list)

    def add(self, scene: Scene, p_N: Float64Array, delay: int) -> None:
        """Add one document."""
        turns = len(p_N)
        speak_N, known_N = scene.human_W[delay : delay + turns], scene.known_W[delay : delay + turns]
        before_N = np.concatenate((np.zeros(1, bool), scene.human_W))[delay : delay + turns]
        document = len(self.bins)
        parts = (known_N & ~before_N, known_N & before_N)
        self.bins.append(np.stack([_binned(p_N[some], speak_N[some]) for some in parts]))
        self.horizons.append(horizon_sums(p_N, speak_N, before_N, known_N))
        for shift, silences in ((True, scene.ends), (False, scene.pauses)):
            for silence in silences:
                self._add_silence(document, scene, p_N, delay, silence, shift=shift)

    def _add_silence(
        self, document: int, scene: Scene, p_N: Float64Array, delay: int, silence: Silence, *, shift: bool
    ) -> None:
        for lag in range(LAGS):
            turn = silence.first + lag
            heard_us = (turn + 1) * WINDOW_US - silence.start_us
            over = heard_us > silence.stop_us - silence.start_us
            if over or turn >= len(p_N) or scene.human_W[silence.first : turn + delay].any():
                return
            scores: dict[Score, float] = {
                "model": float(p_N[turn]),
                "heard": heard_us,
                "whole": silence.stop_us - silence.start_us,
            }
            self.cases.append(_Case(document, shift, lag, scores))

    def result(self, drawn_BD: Float64Array) -> Calibration:
        sums_DSK = np.array(self.bins).reshape(-1, 2, 3, BINS)
        sums_DH = np.array(self.horizons).reshape(-1, 3, HORIZONS)
        return Calibration(
            ece=_ece(sums_DSK.sum(1), drawn_BD),
            ece_silent=_ece(sums_DSK[:, 0], drawn_BD),
            bins=_bins(sums_DSK.sum((0, 1))),
            bins_silent=_bins(sums_DSK[:, 0].sum(0)),
            horizons=tuple(_horizon(h + 1, sums_DH[:, :, h], drawn_BD) for h in range(HORIZONS)),
            separation=tuple(
                self._separation(score, lag, drawn_BD) for lag in range(LAGS) for score in SCORES
            ),
        )

    def _separation(self, score: Score, lag: int, drawn_BD: Float64Array) -> _Separation:
        cases = [case for case in self.cases if case.lag == lag]
        shift = np.array([case.shift for case in cases], bool)
        values = [case.scores[score] for case in cases]
        documents = np.array([case.document for case in cases], np.int64)
        return _Separation(
            score=score,
            lag=lag,
            shifts=int(shift.sum()),
            holds=int((~shift).sum()),
            auc=auc(values, shift, documents, drawn_BD),
        )


def auc(
    values: list[float], positive: BoolArray, documents: npt.NDArray[np.int64], drawn_BD: Float64Array
) -> Measure:
    """The probability that a positive case scores higher than a negative one, with ties counting half."""
    _, counts_DU = counted(values, documents.tolist(), drawn_BD.shape[1])
    places = np.unique(np.array(values, np.float64), return_inverse=True)[1].reshape(-1)
    positive_DU = np.zeros_like(counts_DU)
    np.add.at(positive_DU, (documents[positive], places[positive]), 1)
    negative_DU = counts_DU - positive_DU

    def of(weights_XD: Float64Array) -> Float64Array:
        over_XU, under_XU = weights_XD @ positive_DU, weights_XD @ negative_DU
        pairs_X = over_XU.sum(1) * under_XU.sum(1)
        won_X = (over_XU * (under_XU.cumsum(1) - under_XU / 2)).sum(1)
        share_X: Float64Array = np.divide(
            won_X, pairs_X, out=np.full(len(pairs_X), np.nan), where=pairs_X > 0
        )
        return share_X

    value = float(of(np.ones((1, len(counts_DU))))[0])
    found_B = np.concatenate([of(part_XD) for part_XD in np.array_split(drawn_BD, 20)])
    return measure(None if np.isnan(value) else value, found_B, len(set(documents.tolist())), len(values))


def horizon_sums(
    p_N: Float64Array, speak_N: BoolArray, before_N: BoolArray, known_N: BoolArray
) -> Float64Array:
    """`[3, H]` over micro-turns out of silence: cases, sum of p up to the onset or h, onsets within h."""
    turns = len(p_N)
    sum_N1 = np.concatenate(([0.0], np.cumsum(p_N)))
    unknown_N1 = np.concatenate(([0], np.cumsum(~known_N)))
    onset_N = np.full(turns, turns)
    spoken = np.flatnonzero(speak_N)
    if len(spoken):
        place_N = np.searchsorted(spoken, np.arange(turns))
        onset_N[place_N < len(spoken)] = spoken[place_N[place_N < len(spoken)]]
    sums = np.zeros((3, HORIZONS))
    for h in range(1, HORIZONS + 1):
        start = np.flatnonzero(~before_N[: max(0, turns - h + 1)])
        start = start[unknown_N1[start + h] == unknown_N1[start]]
        stop = np.minimum(start + h, onset_N[start] + 1)
        sums[:, h - 1] = (
            len(start),
            (sum_N1[stop] - sum_N1[start]).sum(),
            (onset_N[start] < start + h).sum(),
        )
    return sums


def _binned(p_N: Float64Array, speak_N: BoolArray) -> Float64Array:
    place_N = np.minimum((p_N * BINS).astype(np.int64), BINS - 1)
    weights = (None, p_N, speak_N.astype(np.float64))
    return np.stack([np.bincount(place_N, weight, BINS) for weight in weights])


def _ece(sums_DSK: Float64Array, drawn_BD: Float64Array) -> Measure:
    cases_D = sums_DSK[:, 0].sum(1)
    apart_DK = sums_DSK[:, 1] - sums_DSK[:, 2]
    cases_B = drawn_BD @ cases_D
    off_B = np.abs(drawn_BD @ apart_DK).sum(1)
    found_B = np.divide(off_B, cases_B, out=np.full(len(cases_B), np.nan), where=cases_B > 0)
    cases = int(cases_D.sum())
    value = float(np.abs(apart_DK.sum(0)).sum()) / cases if cases else None
    return measure(value, found_B, int((cases_D > 0).sum()), cases)


def _bins(sums_SK: Float64Array) -> tuple[Bin, ...]:
    cases_K = sums_SK[0]
    return tuple(
        Bin(
            low=k / BINS,
            high=(k + 1) / BINS,
            cases=int(count),
            p=float(sums_SK[1, k] / count) if count else None,
            spoken=float(sums_SK[2, k] / count) if count else None,
        )
        for k, count in enumerate(cases_K)
    )


def _horizon(windows: int, sums_D3: Float64Array, drawn_BD: Float64Array) -> Horizon:
    cases, expected, observed = sums_D3.sum(0)
    return Horizon(
        windows=windows,
        expected=float(expected / cases) if cases else None,
        observed=float(observed / cases) if cases else None,
        excess=ratio(sums_D3[:, 2] - sums_D3[:, 1], sums_D3[:, 0], drawn_BD),
    )
