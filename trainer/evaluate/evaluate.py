"""Evaluates a model on held-out clips: its losses, and when it speaks.

Losses are means over positions with weight, per stream and per cue. The losses of a cue are over micro-turns
whose answer falls into a window of a cue with that label, whoever's it is. `unigram` beside them is the best
constant guess for this very data, which no model without context can beat.

Timing is measured on the corpus clock where sound is heard: the answer to window i is heard in window i + 1.
Teacher-forced, the model decides in each window whether it speaks now, knowing what the person did before.
Free-running, it hears only the others, and its past is what it did itself.

Shape suffixes: W windows, N micro-turns, F frames, L positions, T sound targets, R M frames and bins.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from corpus.schemas.arrays import BoolArray, Float64Array, Int64Array
from corpus.schemas.errors import DatasetError
from corpus.trainer.config import RunConfig
from corpus.trainer.data.documents import Documents
from corpus.trainer.data.pack import check_length
from corpus.trainer.evaluate import timing
from corpus.trainer.evaluate.baselines import BASELINES, baseline
from corpus.trainer.evaluate.by_window import WindowLoss
from corpus.trainer.evaluate.calibration import Calibration, Told
from corpus.trainer.evaluate.confidence import draws
from corpus.trainer.evaluate.cue_scores import CueScore
from corpus.trainer.evaluate.dlogp import LogpDifference, logp_difference
from corpus.trainer.evaluate.held_out import Losses, LossRow, RecordingLosses
from corpus.trainer.evaluate.timing_cases import Scene, scene_of
from corpus.trainer.evaluate.timing_table import Tally, TimingRow
from corpus.trainer.model.model import InteractionModel
from corpus.trainer.session.sampling import Sampling, decide
from corpus.trainer.session.session import MicroTurn, MicroTurnOut, Session

Phase = Literal["losses", "freely"]
Progress = Callable[[Phase, int, int], None]

_SHARE_DOCUMENTS = 200
"""Training documents from which the share of windows with speech is counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalReport:
    schema: str = "corpus.eval/6"
    data: str
    split: str
    documents: int
    free_documents: int
    """Number of documents through which the model ran freely."""
    losses: tuple[LossRow, ...]
    recordings: tuple[RecordingLosses, ...]
    """All recordings of the split, by their keys."""
    attention_windows: int | None
    """Number of windows back that the model attended to; None for all."""
    by_window: tuple[WindowLoss, ...]
    """Losses by the window's number in its document."""
    cues: tuple[CueScore, ...]
    """Scores of cues; empty for a model trained without `loss.cues`."""
    dlogp: LogpDifference | None
    """Difference between a session and training's pass, over the first document; None without a document."""
    timing: tuple[TimingRow, ...]
    calibration: Calibration


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How many documents are scored, and of those lived through freely, at most; None: all."""

    documents: int | None = None
    free: int | None = 16


def evaluate_model(
    model: InteractionModel,
    config: RunConfig,
    data: Path,
    *,
    split: str = "validation",
    sampling: Sampling | None = None,
    seed: int = 0,
    limits: Limits = Limits(),
    progress: Progress | None = None,
) -> EvalReport:
    """Losses and timing of a model over a split.

    `progress` gets the phase, the amount done and the total. First every document is read once; then the
    model runs freely through some of them, window by window, which takes most of the time.

    Raises:
        DatasetError: no dataset, no clips in the split, or clips of another form than the model's.
    """
    sampling = sampling or Sampling()
    config = held_out_config(config, data, split)
    documents = Documents(config)
    count = len(documents) if limits.documents is None else min(limits.documents, len(documents))
    rows = _Rows(documents, sampling, seed, _speaking_share(config))
    losses, told_scores = Losses(model, config), Told()
    tell = progress or (lambda phase, done, of: None)
    model.eval()
    chosen: list[int] = []
    for document in range(count):
        if len(documents.view(document)):
            scene, view = scene_of(documents, document), documents.view(document)
            before_N = np.concatenate(([view.spoke_before], view.speak_N[:-1]))
            p_N = model.weighting.undone(losses.add(documents, document), before_N)
            told_scores.add(scene, p_N, config.model.response_delay)
            rows.add_told(scene, p_N)
            chosen.append(document)
        tell("losses", document + 1, count)
    free = chosen[: limits.free]
    windows, before = sum(len(documents.view(document)) for document in free), 0
    for document in free:
        outs = []
        for out in run_free(model, documents, document, sampling=sampling, seed=seed):
            outs.append(out)
            tell("freely", before + len(outs), windows)
        rows.add_free(scene_of(documents, document), outs)
        before += len(outs)
    drawn = {True: draws(len(chosen)), False: draws(len(free))}
    return EvalReport(
        data=str(data),
        split=split,
        documents=len(chosen),
        free_documents=len(free),
        losses=losses.rows(),
        recordings=losses.recordings(_names(data, split)),
        attention_windows=model.sight.window_turns,
        by_window=losses.by_window(),
        cues=losses.cues(),
        dlogp=logp_difference(model, documents, chosen[0]) if chosen else None,
        timing=tuple(tally.row(drawn[tally.told]) for tally in rows.tallies.values() if tally.documents),
        calibration=told_scores.result(drawn[True]),
    )


class _Rows:
    """The rows of the timing tables, to which documents are added."""

    def __init__(self, documents: Documents, sampling: Sampling, seed: int, share: float) -> None:
        self._delay = documents.config.model.response_delay
        self._sampling, self._seed, self._share = sampling, seed, share
        names = ("model", *BASELINES)
        self.tallies = {(name, told): Tally(name, told) for told in (True, False) for name in names}

    def add_told(self, scene: Scene, p_N: Float64Array) -> None:
        asked_W = _asked(p_N, scene, self._sampling, self._delay, self._seed)
        self.tallies["model", True].add(scene, asked_W, np.zeros(len(asked_W), np.int64))
        self._add_baselines(scene, told=True)

    def add_free(self, scene: Scene, outs: Iterable[MicroTurnOut]) -> None:
        self.tallies["model", False].add(scene, *heard_of(outs, len(scene.human_W)))
        self._add_baselines(scene, told=False)

    def _add_baselines(self, scene: Scene, *, told: bool) -> None:
        """Add the baselines. Only those that copy the person's speech have words."""
        silent_W = np.zeros_like(scene.words_W)
        words = {"human": scene.words_W, "shifted": np.concatenate((silent_W[:1], scene.words_W[:-1]))}
        for name in BASELINES:
            flags_W = baseline(
                name,
                human_W=scene.human_W,
                other_WF=scene.other_WF,
                share=self._share,
                document=scene.id,
                told=told,
            )
            self.tallies[name, told].add(scene, flags_W, words.get(name, silent_W))


def held_out_config(config: RunConfig, data: Path, split: str) -> RunConfig:
    """A run's configuration, applied to other data.

    Raises:
        SettingsError: its rows are too short for a micro-turn.
    """
    # Score against what people did, even for a model that was taught when an answer is due.
    config = dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, data=str(data), split=split, where=""),
        loss=dataclasses.replace(config.loss, answers=0.0),
    )
    check_length(config)
    return config


def _names(data: Path, split: str) -> dict[str, str]:
    """The file of every clip of a split, by the clip's key."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    table = pq.read_table(data / "clips.parquet", columns=["key", "split", "uri"])
    chosen = table.filter(pc.equal(table["split"], split))
    return dict(zip(chosen["key"].to_pylist(), chosen["uri"].to_pylist(), strict=True))


def _speaking_share(config: RunConfig) -> float:
    """Share of windows in which a speaker of the training split (or else of this split) speaks."""
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
    sound: bool = False,
) -> Iterator[MicroTurnOut]:
    """Run a session that hears, sees and reads what the document's speaker did; with `sound` its speech comes
    as samples, too."""
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
        sound=sound,
    )
    for turn in range(len(view)):
        frame = clip.picture(turn) if view.pictures_N[turn] else None
        given = MicroTurn(audio=turns.heard_NFM[turn], frame=frame, tokens=view.given[turn])
        yield session.step(given)


def heard_of(outs: Iterable[MicroTurnOut], windows: int) -> tuple[BoolArray, Int64Array]:
    """The windows in which a session was heard, and the number of words it began in each."""
    speaks_W, words_W = np.zeros(windows, bool), np.zeros(windows, np.int64)
    inside = False
    for out in outs:
        if out.turn + 1 >= windows:
            break
        speaks_W[out.turn + 1] = out.speak
        inside = inside and out.speak
        for letter in out.text:
            words_W[out.turn + 1] += not (inside or letter.isspace())
            inside = not letter.isspace()
    return speaks_W, words_W


def _asked(p_N: Float64Array, scene: Scene, sampling: Sampling, delay: int, seed: int) -> BoolArray:
    """Whether the model would speak in each window, given the person's past."""
    windows = len(scene.human_W)
    asked_W = np.zeros(windows, bool)
    for turn, p in enumerate(p_N[: windows - 1]):
        before = turn + delay - 1
        speaking = before >= 0 and bool(scene.human_W[before])
        asked_W[turn + 1] = decide(float(p), speaking=speaking, sampling=sampling, seed=seed, turn=turn)
    return asked_W
