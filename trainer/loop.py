"""Training: from a configuration to checkpoints, in one process or in as many as torchrun started.

    micro-batches of a step -> denominators over all ranks -> forward, backward -> norm over all ranks
    -> clip, update, average, router bias -> log, save

A step is a function of the step's number, the batches and the state before it, so a run that goes on
after it was stopped, or killed, ends where an unbroken one does: to the last bit on a CPU with the same
number of ranks, to rounding with another.
"""

from __future__ import annotations

import dataclasses
import fcntl
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Literal, Protocol

import torch

from corpus.schemas.codec import digest, to_json
from corpus.schemas.errors import CorpusError, FormatError, LockedError, StorageError
from corpus.trainer.checkpoint import Meta, Saver, Talk, check_model, choose, load_tensors
from corpus.trainer.config import RunConfig
from corpus.trainer.data import Loader, LoaderState
from corpus.trainer.files import write_whole
from corpus.trainer.heads import NoiseKey
from corpus.trainer.logs import Log, LogLine, Meter, windows_of
from corpus.trainer.model import Denominators, InteractionModel
from corpus.trainer.optim import Average, Optimizer, scale_gradients, squares, summed
from corpus.trainer.overrides import RunFile, changes, check, read_run, write_run
from corpus.trainer.parallel import Ranks, joined, place
from corpus.trainer.schedule import share
from corpus.trainer.sequence import Batch

SAVES_TO_GIVE_UP = 2
"""Saves in a row that fail before a run stops."""


class Flops(Protocol):
    """How many floating point operations a micro-batch costs in training, counted honestly."""

    def __call__(self, config: RunConfig, batch: Batch) -> float: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainResult:
    """How a run ended."""

    step: int
    ended: Literal["done", "stopped"]
    """`stopped`: asked to by a signal; the same command goes on."""
    last: LogLine | None
    skipped: int


def train(
    config: RunConfig,
    run: Path,
    *,
    talk: Talk,
    flops: Flops | None = None,
    peak_flops: float | None = None,
) -> TrainResult:
    """Train until `config.steps`, from the run's newest checkpoint where it has one.

    Raises:
        SettingsError: settings, ranks and data do not fit together; before the first step.
        DatasetError: no dataset, too few clips, or not the one the run began with.
        FormatError: no checkpoint is whole, or they are of another model.
        LockedError: another process trains this run.
        StorageError: checkpoints cannot be written; the last one is kept.
        CorpusError: gradients were no numbers too often in a row.
    """
    check(config)
    with ExitStack() as stack:
        ranks = stack.enter_context(joined(config))
        if ranks.first:
            stack.enter_context(_locked(run))
        stack.enter_context(_determinism(config, ranks))
        stop = stack.enter_context(_signals())
        told = talk if ranks.first else _silent
        run_ = _Run(config, run, ranks, told, flops, peak_flops)
        stack.callback(run_.close)
        return run_.train(stop)


class _Run:
    """Everything that changes while a run goes on."""

    def __init__(
        self,
        config: RunConfig,
        run: Path,
        ranks: Ranks,
        talk: Talk,
        flops: Flops | None,
        peak_flops: float | None,
    ) -> None:
        self.config, self.run, self.ranks, self.talk = config, run, ranks, talk
        self.flops, self.peak_flops = flops, peak_flops
        self.loader = Loader(config, ranks.rank, ranks.world)
        self.model = _new_model(config, ranks)
        named = list(self.model.named_parameters())
        self.optimizer = Optimizer(named, config.optim)
        decay = config.optim.ema_decay
        self.average = None if decay is None else Average(named, decay)
        self.step, self.skipped, self.skipped_in_row, self.saved = 0, 0, 0, -1
        self._resume()
        self.saver = Saver(run, config.keep, first=ranks.first, group=ranks.files, talk=talk)
        self.log: Log | None = None
        if ranks.first:
            self.log = self._open_log()
        self.meter = Meter(config.loss)
        self.last: LogLine | None = None

    def _open_log(self) -> Log:
        file = RunFile(dataset=self.loader.state.dataset, torch=torch.__version__, config=self.config)
        if self.step:
            self._tell_changes()
        try:
            write_run(self.run, file)
            return Log(self.run, self.config.steps, self.step, self.talk)
        except OSError as error:
            raise StorageError(f"cannot be written: {error.strerror}", where=str(self.run)) from error

    def _tell_changes(self) -> None:
        """A shorter command than the first falls back to the preset's values: allowed, but not in silence."""
        with suppress(CorpusError):  # the checkpoint is enough to go on with
            for change in changes(read_run(self.run).config, self.config):
                self.talk(f"changed since: {change}")

    def close(self) -> None:
        self.saver.wait()
        if self.log is not None:
            self.log.close()

    # The steps

    def train(self, stop: Callable[[], bool]) -> TrainResult:
        batches = iter(self.loader)
        logged = self.loader.state
        stopped = False
        while self.step < self.config.steps and not stopped:
            before = self.loader.state
            micro = self._take(batches)
            lr_share = share(self.config.optim, self.step, self.config.steps)
            norm, stopped = self._learn(micro, lr_share, stop)
            self.step += 1
            if self.log is not None:
                self.log.advance(self.step)
            if self.step % self.config.log_every == 0 or self.step == self.config.steps or stopped:
                self._write_log(logged, norm, lr_share)
                logged = self.loader.state
            if self.skipped_in_row:
                self._note_bad(before)
            if self.step % self.config.save_every == 0:
                self._save()
        self._end()
        ended: Literal["done", "stopped"] = "done" if self.step >= self.config.steps else "stopped"
        return TrainResult(step=self.step, ended=ended, last=self.last, skipped=self.skipped)

    def _take(self, batches: Iterator[tuple[Batch, LoaderState]]) -> list[Batch]:
        """The micro-batches of a step: all of them, since their weights are counted before backward."""
        began = time.monotonic()
        micro = [next(batches)[0] for _ in range(self.config.accumulate)]
        self.meter.waited_s += time.monotonic() - began
        for batch in micro:
            self.meter.windows += windows_of(batch)
            if self.flops is not None:
                self.meter.flops += self.flops(self.config, batch)
        return micro

    def _learn(self, micro: list[Batch], lr_share: float, stop: Callable[[], bool]) -> tuple[float, bool]:
        """One step. The gradient's norm before clipping, and whether any rank was asked to stop."""
        device = self.ranks.device
        weights = [torch.stack(Denominators.of(batch)) for batch in micro]
        total = summed(torch.stack(weights).sum(0).to(device))
        denominators = Denominators(*total.unbind())
        key = NoiseKey(seed=self.config.data.seed, step=self.step)
        for number, batch in enumerate(micro):
            rows = self._global_rows(number, batch.shape[0])
            sums = self.model(batch.to(device), self.config.loss, key, rows)
            sums.total(denominators).backward()
            self.meter.add(sums)
        norm, stopped = self._agree(stop())
        good = bool(torch.isfinite(norm))
        self.meter.step(counts=good)
        if good:
            self._update(norm, lr_share)
        else:
            self.model.load_NE.zero_()
        self.skipped += not good
        self.skipped_in_row = 0 if good else self.skipped_in_row + 1
        self.optimizer.zero_grad()
        return float(norm), stopped

    def _global_rows(self, number: int, rows: int) -> torch.Tensor:
        """Where a micro-batch's rows stand in the global batch: all noise hangs on it."""
        return (torch.arange(rows) + number * rows) * self.ranks.world + self.ranks.rank

    def _agree(self, stop: bool) -> tuple[torch.Tensor, bool]:
        """The global norm, and whether to stop, in one exchange."""
        square = squares(self.model.parameters())
        both = summed(torch.stack([square, square.new_tensor(float(stop))]))
        return both[0].sqrt(), bool(both[1])

    def _update(self, norm: torch.Tensor, lr_share: float) -> None:
        if norm > self.config.optim.clip:
            scale_gradients(self.model.parameters(), self.config.optim.clip / norm)
        self.optimizer.step(lr_share)
        if self.average is not None:
            self.average.update()
        self.model.update_router_bias()

    def _write_log(self, before: LoaderState, norm: float, lr_share: float) -> None:
        line = self.meter.line(
            before,
            self.loader.state,
            peak_flops=None if self.peak_flops is None else self.peak_flops * self.ranks.world,
            step=self.step,
            grad_norm=norm,
            lr=self.config.optim.lr * lr_share,
            skipped=self.skipped,
        )
        self.last = line
        if self.log is not None:
            self.log.write(line)
        self.meter.reset()

    # What may go wrong

    def _note_bad(self, before: LoaderState) -> None:
        """Write down what was in the batch; give up after too many in a row, with what was learnt saved."""
        folder = self.run / "nan"
        if self.ranks.first:
            note = {"step": self.step, "rows": self.loader.names(before), "state": before}
            self.talk(f"step {self.step}: the gradient is no number, nothing learnt; see {folder}")
            try:
                folder.mkdir(exist_ok=True)
                write_whole(folder / f"step-{self.step:08d}.json", to_json(note, indent=1).encode())
            except OSError as error:
                self.talk(f"its rows could not be written down: {error.strerror}")
        if self.skipped_in_row >= self.config.nan_limit:
            self._end()
            raise CorpusError(
                f"the gradient was no number in {self.skipped_in_row} steps in a row",
                where=str(folder),
                todo="look at the batches named there, or lower optim.lr",
            )

    def _save(self) -> None:
        self.saver.save(self._tensors(), self._meta())
        self.saved = self.step
        if self.saver.failures >= SAVES_TO_GIVE_UP:
            self._give_up()

    def _end(self) -> None:
        """The last save, waited for."""
        if self.saved != self.step or not self.saver.wait():
            self.saver.save(self._tensors(), self._meta())
            self.saved = self.step
        if not self.saver.wait():
            self._give_up()

    def _give_up(self) -> None:
        raise StorageError(
            "checkpoints cannot be saved; the last one that could is kept",
            where=str(self.saver.folder),
            todo="make room, then give the same command again",
        )

    # Checkpoints

    def _tensors(self) -> dict[str, Any]:
        tensors: dict[str, Any] = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "random": {"cpu": torch.get_rng_state()},
        }
        if self.average is not None:
            tensors["average"] = self.average.state_dict()
        return tensors

    def _meta(self) -> Meta:
        return Meta(
            step=self.step,
            model=self.config.model,
            optimizer=self.config.optim.optimizer,
            average=self.average is not None,
            loader=self.loader.state,
            skipped=self.skipped,
            config=digest(self.config),
        )

    def _resume(self) -> None:
        found = choose(self.run, group=self.ranks.files, talk=self.talk)
        if found is None:
            return
        path, meta = found
        check_model(meta, self.config.model, str(path))
        for what, theirs, ours in (
            ("optimizer", meta.optimizer, self.config.optim.optimizer),
            ("ema_decay", meta.average, self.average is not None),
        ):
            if theirs != ours:
                todo = "give it as it was, or begin a new run"
                raise FormatError(f"the run has another optim.{what}", where=str(path), todo=todo)
        self.loader.load_state_dict(dataclasses.asdict(meta.loader))
        tensors = self._tensors()
        load_tensors(path, tensors, self.ranks.files)
        self.optimizer.loaded()
        torch.set_rng_state(tensors["random"]["cpu"])
        self.step, self.skipped, self.saved = meta.step, meta.skipped, meta.step
        self.talk(f"going on from step {self.step}")


def _new_model(config: RunConfig, ranks: Ranks) -> InteractionModel:
    """The same numbers on all ranks, before they are cut."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.data.seed)
        model = InteractionModel(config.model)
    place(model, config, ranks)
    return model.train()


def _silent(text: str) -> None:
    """What ranks other than the first have to say."""


@contextmanager
def _locked(run: Path) -> Iterator[None]:
    try:
        run.mkdir(parents=True, exist_ok=True)
        handle = os.open(run / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise StorageError(f"cannot be written: {error.strerror}", where=str(run)) from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            what, todo = "another process trains this run", "wait for it, or name another folder"
            raise LockedError(what, where=str(run), todo=todo) from error
        yield
    finally:
        os.close(handle)


@contextmanager
def _determinism(config: RunConfig, ranks: Ranks) -> Iterator[None]:
    """Deterministic kernels, where there are some; on a GPU those without one warn."""
    memory: Any = torch.utils.deterministic  # a module that makes its attributes itself
    before = torch.are_deterministic_algorithms_enabled()
    warns = torch.is_deterministic_algorithms_warn_only_enabled()
    filled = memory.fill_uninitialized_memory
    if config.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=ranks.device.type == "cuda")
        memory.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warns)
        memory.fill_uninitialized_memory = filled


@contextmanager
def _signals() -> Iterator[Callable[[], bool]]:
    """SIGTERM and Ctrl-C ask to stop after the step under way; a second Ctrl-C does not wait."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return

    def ask(number: int, frame: FrameType | None) -> None:
        if asked.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        asked.set()

    kinds = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(kind, ask) for kind in kinds]
    try:
        yield asked.is_set
    finally:
        for kind, handler in zip(kinds, before, strict=True):
            signal.signal(kind, handler)
