"""One way of behaving, summed up over the documents of a split: a row of the timing tables.

Shape suffixes: W windows, B draws, D documents.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from corpus.schemas.arrays import BoolArray, Float64Array, Int64Array
from corpus.schemas.clock import WINDOW_US
from corpus.trainer.data.runs import Run
from corpus.trainer.evaluate import timing
from corpus.trainer.evaluate.confidence import Measure, quantile, ratio, share
from corpus.trainer.evaluate.timing_cases import Scene

MINUTE = 60 * timing.SECOND
WINDOW_MS = WINDOW_US / 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class TimingRow:
    """One way of behaving, over all documents."""

    name: str
    told: bool
    """Whether it was teacher-forced."""
    speaks: Measure
    """Share of windows with speech."""
    right: Measure
    off_by_windows: Measure
    """Median distance of an onset from the person's; no value if most have none within reach."""
    pause_taken: Measure
    turn_taken: Measure
    latency_p10_ms: Measure
    latency_ms: Measure
    """Median latency."""
    latency_p90_ms: Measure
    latency_counts: tuple[int, ...]
    """Take-overs by latency in windows."""
    stopped: Measure
    """Share of interruptions after which it stopped, among those that began while it spoke."""
    stop_ms: Measure
    """Median time to stop; no value if most speak on to the end of the clip."""
    answered: Measure
    """Share of the same interruptions after which it took over, if the clip contains a second after them."""
    overlap: Measure
    """Share of its speech during which another speaks."""
    false_starts_per_minute: Measure
    backchannels_per_minute: Measure
    backchannel_distance: Measure
    """Mean distance over documents with labelled backchannels."""


@dataclass(slots=True)
class _Sums:
    """The upper and lower sums of a ratio, one of each per document."""

    above: list[float] = field(default_factory=list)
    below: list[float] = field(default_factory=list)

    def add(self, above: float, below: float) -> None:
        self.above.append(above)
        self.below.append(below)

    def share(self, drawn_BD: Float64Array) -> Measure:
        return share(np.array(self.above), np.array(self.below), drawn_BD)

    def measure(self, drawn_BD: Float64Array, *, scale: float = 1.0, cases: int | None = None) -> Measure:
        return ratio(np.array(self.above) * scale, np.array(self.below), drawn_BD, cases=cases)


@dataclass(slots=True)
class _Values:
    """Figures of cases, each with the number of its document."""

    values: list[float] = field(default_factory=list)
    documents: list[int] = field(default_factory=list)

    def add(self, document: int, values: Sequence[float]) -> None:
        self.values += values
        self.documents += [document] * len(values)

    def quantile(self, part: float, drawn_BD: Float64Array, *, scale: float = 1.0) -> Measure:
        return quantile([value * scale for value in self.values], self.documents, part, drawn_BD)


@dataclass(slots=True)
class Tally:
    """Sums for one row."""

    name: str
    told: bool
    documents: int = 0
    speaks: _Sums = field(default_factory=_Sums)
    right: _Sums = field(default_factory=_Sums)
    errors: _Values = field(default_factory=_Values)
    pauses: _Sums = field(default_factory=_Sums)
    turns: _Sums = field(default_factory=_Sums)
    latencies: _Values = field(default_factory=_Values)
    stopped: _Sums = field(default_factory=_Sums)
    stops: _Values = field(default_factory=_Values)
    answers: _Sums = field(default_factory=_Sums)
    overlap: _Sums = field(default_factory=_Sums)
    false_starts: _Sums = field(default_factory=_Sums)
    backchannels: _Sums = field(default_factory=_Sums)
    distances: _Sums = field(default_factory=_Sums)

    def add(self, scene: Scene, speaks_W: BoolArray, words_W: Int64Array) -> None:
        """Add one document, without the first window, in which a model cannot be heard yet."""
        windows, other_W = len(speaks_W) - 1, scene.other_W
        spoken = int(speaks_W[1:].sum())
        self.speaks.add(spoken, windows)
        self.overlap.add(int((speaks_W & other_W)[1:].sum()), spoken)
        actions = timing.actions(speaks_W, scene.human_W, told=self.told, first=1)
        self.right.add(actions.met + actions.kept, actions.onsets + actions.silences)
        self.errors.add(self.documents, actions.errors)
        self._add_turns(scene, speaks_W, words_W)
        self._add_interruptions(scene, speaks_W, words_W)
        self.false_starts.add(len(timing.false_starts(speaks_W, words_W, other_W)), windows)
        given = timing.backchannels(speaks_W, words_W, other_W)
        self.backchannels.add(len(given), windows)
        self._add_distance(given, scene)
        self.documents += 1

    def _add_turns(self, scene: Scene, speaks_W: BoolArray, words_W: Int64Array) -> None:
        pauses = [
            timing.take_over(speaks_W, words_W, pause.first, pause.stop + timing.HEARD_AFTER)
            for pause in scene.pauses
        ]
        self.pauses.add(sum(taken_at.taken for taken_at in pauses), len(pauses))
        latencies = []
        for end in scene.ends:
            stop = timing.answer_stop(scene.other_W, end.first)
            taken_at = timing.take_over(speaks_W, words_W, end.first, stop)
            latencies.append(timing.latency_windows(taken_at, end.first))
        taken = [latency for latency in latencies if latency is not None]
        self.turns.add(len(taken), len(latencies))
        self.latencies.add(self.documents, taken)

    def _add_interruptions(self, scene: Scene, speaks_W: BoolArray, words_W: Int64Array) -> None:
        stops, answers = [], []
        for window in scene.interrupted:
            stop = timing.stop_windows(speaks_W, window)
            if stop is None:
                continue
            stops.append(stop)
            ended = timing.interruption_end(scene.other_W, window)
            if ended + timing.SECOND <= len(speaks_W):
                answers.append(timing.answer(speaks_W, words_W, scene.other_W, ended).taken)
        self.stopped.add(sum(stop <= timing.STOP_WINDOWS for stop in stops), len(stops))
        self.stops.add(self.documents, stops)
        self.answers.add(sum(answers), len(answers))

    def _add_distance(self, given: Sequence[Run], scene: Scene) -> None:
        labelled = scene.backchannels
        distance = timing.timing_distance(given, labelled, len(scene.human_W)) if labelled else 0.0
        self.distances.add(distance, bool(labelled))

    def row(self, drawn_BD: Float64Array) -> TimingRow:
        latency = self.latencies
        return TimingRow(
            name=self.name,
            told=self.told,
            speaks=self.speaks.measure(drawn_BD),
            right=self.right.share(drawn_BD),
            off_by_windows=self.errors.quantile(0.5, drawn_BD),
            pause_taken=self.pauses.share(drawn_BD),
            turn_taken=self.turns.share(drawn_BD),
            latency_p10_ms=latency.quantile(0.1, drawn_BD, scale=WINDOW_MS),
            latency_ms=latency.quantile(0.5, drawn_BD, scale=WINDOW_MS),
            latency_p90_ms=latency.quantile(0.9, drawn_BD, scale=WINDOW_MS),
            latency_counts=tuple(np.bincount(np.array(latency.values, np.int64)).tolist()),
            stopped=self.stopped.share(drawn_BD),
            stop_ms=self.stops.quantile(0.5, drawn_BD, scale=WINDOW_MS),
            answered=self.answers.share(drawn_BD),
            overlap=self.overlap.measure(drawn_BD),
            false_starts_per_minute=self._rate(self.false_starts, drawn_BD),
            backchannels_per_minute=self._rate(self.backchannels, drawn_BD),
            backchannel_distance=self.distances.measure(drawn_BD),
        )

    def _rate(self, sums: _Sums, drawn_BD: Float64Array) -> Measure:
        return sums.measure(drawn_BD, scale=MINUTE, cases=int(sum(sums.above)))
