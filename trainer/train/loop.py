"""Training: from a configuration to checkpoints, in one process or in all that torchrun started.

    micro-batches of a step -> denominators over all ranks -> the step (step.py) -> log, save

A step depends only on its number, its batches and the state before it. So a run that was stopped or killed
and then resumed ends like an uninterrupted one: to the last bit on a CPU with the same number of ranks, up
to rounding with another number.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import torch

from corpus.schemas.codec import digest, to_json
from corpus.schemas.errors import CorpusError, SettingsError, StorageError
from corpus.schemas.files import write_whole
from corpus.trainer.config import RunConfig, check_ranges
from corpus.trainer.data.loader import LoaderState
from corpus.trainer.data.open_loader import open_loader
from corpus.trainer.data.sequence import Batch
from corpus.trainer.model.batch_stats import windows_of
from corpus.trainer.model.loss_sums import Denominators
from corpus.trainer.model.model import InteractionModel
from corpus.trainer.parallel.collectives import (
    expect_same,
    greatest,
    no_rank_lost,
    summed_or_raised,
    together,
)
from corpus.trainer.parallel.prepare import prepare
from corpus.trainer.parallel.process import determinism, expect_shared, locked, stop_signals
from corpus.trainer.parallel.ranks import Ranks, joined, world_size
from corpus.trainer.train.checkpoint import Meta, Talk, check_resumes, choose, load_tensors
from corpus.trainer.train.checkpoint_saver import Saver
from corpus.trainer.train.log_line import LogLine
from corpus.trainer.train.logs import LOG_NAME, Log
from corpus.trainer.train.meter import LastStep, Meter
from corpus.trainer.train.run_file import RunFile, read_run, write_run
from corpus.trainer.train.step import Learner, Learnt

if TYPE_CHECKING:
    from corpus.trainer.train.held_out_rows import HeldOutLosses, HeldOutRows

SAVES_TO_GIVE_UP = 2
"""A run stops after this many failed saves in a row."""


class _Flops(Protocol):
    """Counts the useful floating point operations in training a micro-batch."""

    def __call__(self, config: RunConfig, batch: Batch) -> float: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _TrainResult:
    """How a run ended."""

    step: int
    ended: Literal["done", "stopped"]
    """`stopped`: a signal asked for it; the same command continues the run."""
    last: LogLine | None
    skipped: int


def train_model(
    config: RunConfig,
    run: Path,
    *,
    talk: Talk,
    flops: _Flops | None = None,
    peak_flops: float | None = None,
) -> _TrainResult:
    """Train until `config.steps`, beginning with the run's newest checkpoint if there is one.

    Raises:
        SettingsError: settings, ranks and data do not fit together, or the model not on the GPU.
        DatasetError: no dataset, too few clips, or not the dataset that the run began with.
        FormatError: no checkpoint is intact, or they are of another model.
        LockedError: another process trains this run.
        StorageError: checkpoints cannot be written; the last one is kept.
        CorpusError: gradients were NaN or Inf too many times in a row, or another rank was lost.

    Every rank raises the same error, except when a rank is lost.
    """
    check_ranges(config)
    with ExitStack() as stack:
        # Entered in this order, left in the other one: the lock outlives the last save.
        stack.enter_context(no_rank_lost(world_size()))
        ranks = stack.enter_context(joined(config))
        together(ranks.host, lambda: stack.enter_context(locked(run)) if ranks.first else None)
        together(ranks.host, lambda: expect_shared(run))
        stack.enter_context(determinism(config.deterministic, ranks.device))
        stop = stack.enter_context(stop_signals())
        messenger = talk if ranks.first else _silent
        run_ = _Run(config, run, ranks, messenger, flops, peak_flops)
        stack.callback(run_.close)
        return run_.train(stop)


class _Run:
    """Everything that changes during a run."""

    def __init__(
        self,
        config: RunConfig,
        run: Path,
        ranks: Ranks,
        talk: Talk,
        flops: _Flops | None,
        peak_flops: float | None,
    ) -> None:
        self.config, self.run, self.ranks, self.talk = config, run, ranks, talk
        self.flops, self.peak_flops = flops, peak_flops
        self.loader = together(ranks.host, lambda: open_loader(config, ranks.rank, ranks.world))
        # Ranks that read different data would train on, and be wrong without a sign.
        expect_same(ranks.host, {"dataset": self.loader.state.dataset})
        # On the meta device until it is cut over ranks: no rank ever holds it whole.
        model = InteractionModel.unset(config.model).train()
        prepare(model, config, ranks)
        if ranks.device.type == "cuda":
            from corpus.trainer.train.memory import check_memory

            together(ranks.host, lambda: check_memory(config, model, ranks.world, ranks.device))
        model.to_empty(device=ranks.device)
        resumed = choose(run, group=ranks.files, talk=talk)
        self.base = ""
        # The checkpoint of a LoRA run holds only the weights that are trained.
        if resumed is None or config.model.lora_rank:
            self._begin(model)
        self.meter = Meter(config.loss, first_layer=config.model.dense_layers, top_k=config.model.top_k)
        # The optimiser is made of final parameters: after all that replaces them.
        self.learner = Learner(model, config, ranks, self.meter)
        self.step, self.skipped, self.skipped_in_row, self.saved = 0, 0, 0, -1
        if resumed is not None:
            self._resume(*resumed)
        self.held_out = self._held_out() if config.held_out_every else None
        self.looked: HeldOutLosses | None = None
        self.saver, self.log = together(ranks.host, self._open)
        self.last: LogLine | None = None

    def _held_out(self) -> HeldOutRows | None:
        from corpus.trainer.train.held_out_rows import held_out_rows

        rows, why = held_out_rows(self.config, self.ranks)
        if why:
            self.talk(why)
        return rows

    def _begin(self, model: InteractionModel) -> None:
        model.initialise(self.config.data.seed)
        if self.config.model.lora_rank and not self.config.init:
            todo = "give init=FOLDER, of corpus export"
            raise SettingsError("a LoRA run needs base weights", where="init", todo=todo)
        if self.config.init:
            from corpus.trainer.train.initial_weights import begin_from, origin_of

            origin = together(self.ranks.host, lambda: origin_of(self.config, self.talk))
            self.base = origin.digest
            begin_from(origin, model, self.ranks.files)

    def _open(self) -> tuple[Saver, Log | None]:
        first, group = self.ranks.first, self.ranks.files
        saver = Saver(self.run, self.config.keep, first=first, group=group, talk=self.talk)
        return saver, self._open_log() if first else None

    def _open_log(self) -> Log:
        file = RunFile(dataset=self.loader.state.dataset, torch=torch.__version__, config=self.config)
        if self.step:
            self._tell_changes()
        else:
            if (self.run / LOG_NAME).exists():
                self.talk("no checkpoint there: the run and its log start over")
            self._tell_listeners()
        try:
            write_run(self.run, file)
            return Log(self.run, self.config.steps, self.step, self.talk)
        except OSError as error:
            raise StorageError(f"cannot be written: {error.strerror}", where=str(self.run)) from error

    def _tell_changes(self) -> None:
        """Report changed settings: a shorter command than the first falls back to the preset's values."""
        from corpus.trainer.overrides import changes

        with suppress(CorpusError):
            for change in changes(read_run(self.run).config, self.config):
                self.talk(f"changed since: {change}")

    def _tell_listeners(self) -> None:
        """Report how many documents have a silent speaker; they may explain a model that rarely speaks."""
        silent, among = self.loader.listeners()
        if silent:
            whose = "" if among == self.loader.documents else "first "
            self.talk(f"in {silent} of the {whose}{among} documents the speaker says nothing")

    def close(self) -> None:
        self.saver.wait()
        if self.log is not None:
            self.log.close()

    # The steps

    def train(self, stop: Callable[[], bool]) -> _TrainResult:
        self.meter.reset()  # the time before the first step does not count
        batches = iter(self.loader)
        # A line covers everything that went into the model since the previous line.
        logged = self.loader.state
        stopped = False
        while self.step < self.config.steps and not stopped:
            # The state before the step: a step whose data cannot be read has not happened.
            before = self.loader.state
            try:
                micro, denominators = self._take(batches)
            except CorpusError:
                self._keep(before)
                raise
            learnt = self.learner.learn(self.step, micro, denominators, stop)
            stopped = learnt.stopped
            self.step += 1
            if self.log is not None:
                self.log.advance(self.step)
            # A step with a NaN or Inf gradient changes nothing, but its data count as read.
            self.skipped += not learnt.good
            self.skipped_in_row = 0 if learnt.good else self.skipped_in_row + 1
            self._look()
            if learnt.logged:
                self._write_log(logged, learnt)
                logged = self.loader.state
            if not learnt.good:
                self._note_bad(before)
            if self.step % self.config.save_every == 0:
                self._save()
        self._end()
        ended: Literal["done", "stopped"] = "done" if self.step >= self.config.steps else "stopped"
        return _TrainResult(step=self.step, ended=ended, last=self.last, skipped=self.skipped)

    def _look(self) -> None:
        """Evaluate the held-out rows if it is time; the next log line has their losses."""
        every = self.config.held_out_every
        if self.held_out is not None and (self.step % every == 0 or self.step == self.config.steps):
            self.looked = self.held_out.losses(self.learner.model)

    def _take(self, batches: Iterator[tuple[Batch, LoaderState]]) -> tuple[list[Batch], Denominators]:
        """All micro-batches of a step, and its denominators over all ranks, which backward needs.

        Raises: on all ranks, the error of one that could not read.
        """
        began = time.monotonic()
        micro, error = [], None
        try:
            micro = [next(batches)[0] for _ in range(self.config.accumulate)]
        except CorpusError as found:
            error = found
        self.meter.waited_s += time.monotonic() - began
        for batch in micro:
            self.meter.windows += windows_of(batch)
            if self.flops is not None:
                self.meter.flops += self.flops(self.config, batch)
        weights = [torch.stack(Denominators.of(batch)) for batch in micro]
        own = (
            torch.stack(weights).sum(0)
            if weights
            else torch.zeros(len(Denominators._fields), dtype=torch.float64)
        )
        # One exchange carries the sums and, if a rank could not read, its error to all.
        total = summed_or_raised(self.ranks.host, own, error)
        return micro, Denominators(*total.to(self.ranks.device).unbind())

    def _write_log(self, before: LoaderState, learnt: Learnt) -> None:
        last = LastStep(
            step=self.step,
            lr=self.config.optim.lr * learnt.lr_share,
            grad_norm=learnt.norm,
            skipped=self.skipped,
            gradients=learnt.gradients,
            movement=learnt.moved,
        )
        line = self.meter.line(
            before,
            self.loader.state,
            last,
            peak_flops=None if self.peak_flops is None else self.peak_flops * self.ranks.world,
            gpu_peak_bytes=self._gpu_peak(),
            held_out=self.looked,
        )
        self.looked = None
        self.last = line
        if self.log is not None:
            self.log.write(line)
        self.meter.reset()

    def _gpu_peak(self) -> int | None:
        """The largest peak of all ranks."""
        if self.ranks.device.type != "cuda":
            return None
        return greatest(torch.cuda.max_memory_allocated(self.ranks.device))

    # Failures

    def _keep(self, before: LoaderState) -> None:
        """Save what was learnt before data could no longer be read; other ranks may have read further."""
        self.loader.state = before
        if self.step:
            with suppress(StorageError):  # already reported; the error that ended the run comes last
                self._end()

    def _note_bad(self, before: LoaderState) -> None:
        """Record the content of a bad batch; after too many in a row, save what was learnt and give up."""
        folder = self.run / "nan"
        if self.ranks.first:
            note = {"step": self.step, "rows": self.loader.names(before), "state": before}
            self.talk(f"step {self.step} skipped: the gradient is NaN or Inf; see {folder}")
            try:
                folder.mkdir(exist_ok=True)
                write_whole(folder / f"step-{self.step:08d}.json", to_json(note, indent=1).encode())
            except OSError as error:
                self.talk(f"its rows could not be written: {error.strerror}")
        # A single bad batch points to the data; many in a row to the model or the learning rate.
        if self.skipped_in_row >= self.config.nan_limit:
            self._end()
            raise CorpusError(
                f"the gradient was NaN or Inf in {self.skipped_in_row} steps in a row",
                where=str(folder),
                todo="look at the batches named there, or remove the newest checkpoints and lower optim.lr",
            )

    def _save(self) -> None:
        self.saver.save(self.learner.state_dict(), self._meta())
        self.saved = self.step
        if self.log is not None:
            self.log.draw()
        # Space may be freed while training continues, but do not wait for it for ever.
        if self.saver.failures >= SAVES_TO_GIVE_UP:
            self._give_up()

    def _end(self) -> None:
        """Save for the last time, and wait for it."""
        if self.log is not None:
            self.log.draw()
        # Saving runs in the background: the last save counts only once it has succeeded.
        if self.saved != self.step or not self.saver.wait():
            self.saver.save(self.learner.state_dict(), self._meta())
            self.saved = self.step
        if not self.saver.wait():
            self._give_up()

    def _give_up(self) -> None:
        raise StorageError(
            "checkpoints cannot be saved; the last good one is kept",
            where=str(self.saver.folder),
            todo="free some space, then run the same command again",
        )

    # Checkpoints

    def _meta(self) -> Meta:
        return Meta(
            step=self.step,
            model=self.config.model,
            optimizer=self.config.optim.optimizer,
            average=self.learner.average is not None,
            trained_windows=self.loader.state.longest or None,
            base=self.base if self.config.model.lora_rank else "",
            loader=self.loader.state,
            skipped=self.skipped,
            config=digest(self.config),
        )

    def _resume(self, path: Path, meta: Meta) -> None:
        check_resumes(meta, self.config, self.base, str(path))
        began = None
        with suppress(CorpusError):  # the checkpoint is enough to continue
            began = read_run(self.run).config
        self.loader.load_state_dict(dataclasses.asdict(meta.loader), began)
        load_tensors(path, meta, self.learner.state_dict(), self.ranks.files)
        self.learner.loaded()
        self.step, self.skipped, self.saved = meta.step, meta.skipped, meta.step
        anew = "; the stream begins a new pass" if self.config.data.reader == "stream" else ""
        self.talk(f"resuming from step {self.step}{anew}")


def _silent(text: str) -> None:
    """The messenger of ranks other than the first."""
