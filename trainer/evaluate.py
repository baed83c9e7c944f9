"""How good a model is on held-out clips: its losses, and when it speaks.

Losses are means over positions with weight, per stream and per cue: over the micro-turns whose answer falls
into a window of a cue with that label, whoever's cue it is. Beside them stands `unigram`, the best constant
guess for this very data, which no model without context can beat.

Timing is measured on the corpus clock where sound is heard: what follows window i is heard in window i + 1.
Teacher-forced the model is asked in each window whether it speaks now, knowing what the person did before;
free-running it hears the others only and lives with what it did itself.

Shape suffixes: W windows, N micro-turns, F frames, L positions, T sound targets, R M frames and bins.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from corpus.schemas.clock import WINDOW_US
from corpus.schemas.errors import DatasetError
from corpus.trainer import timing
from corpus.trainer.baselines import BASELINES, baseline
from corpus.trainer.config import RunConfig
from corpus.trainer.documents import Documents
from corpus.trainer.held_out import Losses, LossRow
from corpus.trainer.model import InteractionModel
from corpus.trainer.pack import check_length
from corpus.trainer.sampling import Sampling
from corpus.trainer.scene import Scene, scene_of
from corpus.trainer.session import MicroTurn, MicroTurnOut, Session
from corpus.trainer.timing import Actions, Counts, Flags

_SHARE_DOCUMENTS = 200
"""Training documents from which the share of speaking windows is counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TimingRow:
    """One way to behave, over all documents. None where there was no case."""

    name: str
    told: bool
    """Teacher-forced."""
    speaks: float
    """Share of windows."""
    right: float | None
    error_windows: float | None
    """Median distance of an onset from the person's; None where most have no answer within reach."""
    pauses: int
    pause_taken: float | None
    turns: int
    turn_taken: float | None
    latency_ms: float | None
    """Median."""
    backchannels_per_minute: float
    backchannel_distance: float | None
    interruptions: int
    """In which it spoke when the other began."""
    stopped: float | None
    stop_ms: float | None
    """Median."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalReport:
    schema: str = "corpus.eval/1"
    data: str
    split: str
    documents: int
    free_documents: int
    """How many of them the model ran through freely."""
    losses: tuple[LossRow, ...]
    timing: tuple[TimingRow, ...]


@dataclass(slots=True)
class Tally:
    """Sums for one row."""

    name: str
    told: bool
    windows: int = 0
    spoken: int = 0
    actions: Actions = timing.NO_ACTIONS
    pauses: list[bool] = field(default_factory=list)
    turns: list[bool] = field(default_factory=list)
    latencies: list[int] = field(default_factory=list)
    backchannels: int = 0
    distances: list[float] = field(default_factory=list)
    stops: list[int] = field(default_factory=list)

    def add(self, scene: Scene, speaks_W: Flags, words_W: Counts) -> None:
        """One document; the first window, in which nothing can be heard of a model yet, is left out."""
        self.windows += len(speaks_W) - 1
        self.spoken += int(speaks_W[1:].sum())
        self.actions += timing.actions(speaks_W, scene.human_W, told=self.told, first=1)
        for start, stop in scene.pauses:
            self.pauses.append(timing.take_over(speaks_W, words_W, start, stop).taken)
        for ended in scene.ends:
            stop = timing.answer_stop(scene.other_W, ended)
            found = timing.take_over(speaks_W, words_W, ended, stop)
            self.turns.append(found.taken)
            latency = timing.latency_windows(found, ended)
            if latency is not None:
                self.latencies.append(latency)
        given = timing.backchannels(speaks_W, words_W, scene.other_W)
        self.backchannels += len(given)
        if scene.backchannels:
            self.distances.append(timing.timing_distance(given, scene.backchannels, len(speaks_W)))
        for window in scene.interrupted:
            after = timing.stop_windows(speaks_W, window)
            if after is not None:
                self.stops.append(after)

    def row(self) -> TimingRow:
        error = self.actions.median_error
        window_ms = WINDOW_US / 1000
        return TimingRow(
            name=self.name,
            told=self.told,
            speaks=self.spoken / max(1, self.windows),
            right=self.actions.right,
            error_windows=error if error is not None and np.isfinite(error) else None,
            pauses=len(self.pauses),
            pause_taken=_mean(self.pauses),
            turns=len(self.turns),
            turn_taken=_mean(self.turns),
            latency_ms=_median(self.latencies, window_ms),
            backchannels_per_minute=self.backchannels / max(1, self.windows) * 60 * timing.SECOND,
            backchannel_distance=_mean(self.distances),
            interruptions=len(self.stops),
            stopped=_mean([stop <= timing.STOP_WINDOWS for stop in self.stops]),
            stop_ms=_median(self.stops, window_ms),
        )


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _median(values: Sequence[float], scale: float) -> float | None:
    return float(np.median(values)) * scale if values else None


def evaluate(
    model: InteractionModel,
    config: RunConfig,
    data: Path,
    *,
    split: str = "validation",
    sampling: Sampling | None = None,
    seed: int = 0,
    most: int | None = None,
    most_free: int | None = 16,
    progress: Callable[[int, int], None] | None = None,
) -> EvalReport:
    """Losses and timing of a model over a split, at most so many documents of it.

    Raises:
        DatasetError: no dataset, no clips in the split, or clips of another form than the model's.
    """
    sampling = sampling or Sampling()
    config = held_out_config(config, data, split)
    documents = Documents(config)
    count = len(documents) if most is None else min(most, len(documents))
    free_count = count if most_free is None else min(most_free, count)
    share = _speaking_share(config)
    losses = Losses(model, config)
    rows = {(name, told): Tally(name, told) for told in (True, False) for name in ("model", *BASELINES)}
    model.eval()
    for document in range(count):
        view = documents.view(document)
        if not len(view):
            continue
        scene = scene_of(documents, document)
        p_N = losses.add(documents, document)
        asked_W = _asked(p_N, scene, sampling, config.model.response_delay)
        rows["model", True].add(scene, asked_W, np.zeros(len(asked_W), np.int64))
        if document < free_count:
            outs = run_free(model, documents, document, sampling=sampling, seed=seed)
            rows["model", False].add(scene, *heard_of(outs, len(scene.human_W)))
        for told in (True, False) if document < free_count else (True,):
            for name in BASELINES:
                flags_W = baseline(
                    name,
                    human_W=scene.human_W,
                    other_WF=scene.other_WF,
                    share=share,
                    document=scene.id,
                    told=told,
                )
                words_W = scene.words_W if name == "human" else np.zeros(len(flags_W), np.int64)
                rows[name, told].add(scene, flags_W, words_W)
        if progress is not None:
            progress(document + 1, count)
    return EvalReport(
        data=str(data),
        split=split,
        documents=count,
        free_documents=free_count,
        losses=losses.rows(),
        timing=tuple(tally.row() for tally in rows.values() if tally.windows),
    )


def held_out_config(config: RunConfig, data: Path, split: str) -> RunConfig:
    """A run's configuration, turned to other data.

    Raises:
        SettingsError: its rows are too short for a micro-turn.
    """
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, data=str(data), split=split))
    check_length(config)
    return config


def _speaking_share(config: RunConfig) -> float:
    """Share of windows a speaker of the training split speaks in, or of this split where there is none."""
    splits = ("train", config.data.split)
    for split in splits:
        data = dataclasses.replace(config.data, split=split)
        try:
            documents = Documents(dataclasses.replace(config, data=data))
        except DatasetError:
            continue
        views = [documents.view(d) for d in range(min(len(documents), _SHARE_DOCUMENTS))]
        total = sum(len(view) for view in views)
        if total:
            return float(sum(int(view.speak_N.sum()) for view in views) / total)
    return 0.0


def run_free(
    model: InteractionModel,
    documents: Documents,
    document: int,
    *,
    sampling: Sampling,
    seed: int = 0,
) -> list[MicroTurnOut]:
    """The model in a session that hears, sees and is told what the document's speaker was."""
    config = documents.config
    view = documents.view(document)
    clip = documents.clips[view.place]
    turns = documents.turns(document, 0, len(view))
    session = Session(
        model,
        sampling=sampling,
        seed=seed,
        max_seconds=len(view) / timing.SECOND,
        history_turns=0,
        pictures=config.data.pictures,
    )
    outs = []
    for turn in range(len(view)):
        frame = clip.picture(turn) if view.pictures_N[turn] else None
        given = MicroTurn(audio=turns.heard_NFM[turn], frame=frame, tokens=view.given[turn])
        outs.append(session.step(given))
    return outs


def heard_of(outs: Sequence[MicroTurnOut], windows: int) -> tuple[Flags, Counts]:
    """In which windows a session was heard, and how many words it began in each."""
    speaks_W, words_W = np.zeros(windows, bool), np.zeros(windows, np.int64)
    text = ""
    for out in outs:
        if out.turn + 1 >= windows:
            break
        speaks_W[out.turn + 1] = out.speak
        before = len(text.split())
        text += out.text
        words_W[out.turn + 1] = len(text.split()) - before
    return speaks_W, words_W


def _asked(p_N: npt.NDArray[np.float64], scene: Scene, sampling: Sampling, delay: int) -> Flags:
    """Whether the model would speak in each window, given the person's past."""
    windows = len(scene.human_W)
    asked_W = np.zeros(windows, bool)
    for turn, p in enumerate(p_N):
        if turn + 1 >= windows:
            break
        before = turn + delay - 1
        speaking = before >= 0 and bool(scene.human_W[before])
        asked_W[turn + 1] = p >= (sampling.stay_above if speaking else sampling.speak_above)
    return asked_W
