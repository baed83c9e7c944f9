"""What a run says: RUN/log.jsonl, TensorBoard where it is installed, and a progress line."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn

import torch
from tqdm import tqdm

from corpus.schemas.clock import US, WINDOW_US
from corpus.trainer.config import LossConfig
from corpus.trainer.data import LoaderState
from corpus.trainer.files import write_whole
from corpus.trainer.model import LossSums
from corpus.trainer.optim import summed
from corpus.trainer.sequence import Batch

LOG_NAME = "log.jsonl"
HOUR_S = 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """The steps since the line before, all ranks together. None: nothing to tell."""

    step: int
    loss: float | None
    """Weighted, as it is trained; parts below as they are."""
    text: float | None
    """Nats a unit of weight: text and control tokens."""
    audio: float | None
    """Nats a bin, or the flow's squared error."""
    balance: float | None
    router_z: float | None
    grad_norm: float | None
    """Of the last step, before clipping."""
    lr: float
    positions: int
    """Since the run's start, without padding; below per second of these steps."""
    positions_per_s: float
    audio_hours_per_hour: float
    """Hours of conversation, both sides, in an hour."""
    data_wait_ms: float
    """A step's wait for its batches, mean; of rank 0."""
    mfu: float | None
    expert_load: float | None
    """Tokens of the busiest expert : mean, in the layer where it is highest."""
    padding: float
    """Share of all positions in these steps."""
    text_spilled: float
    """Share of text tokens written in a later window than they belong to."""
    skipped: int
    """Steps since the run's start whose gradient was no number."""


def windows_of(batch: Batch) -> torch.Tensor:
    """How many micro-turns it holds, 0-D."""
    turn = batch.turn_BL
    begins = torch.ones_like(turn, dtype=torch.bool)
    begins[:, 1:] = turn[:, 1:] != turn[:, :-1]
    return (begins & (turn >= 0) & (batch.segment_BL >= 0)).sum()


class Meter:
    """Sums over the steps of a log line; nothing goes to the host before it is asked for."""

    _NAMES = ("text_sum", "text_weight", "audio_sum", "audio_weight", "balance", "router_z", "positions")

    def __init__(self, weights: LossConfig, clock: Callable[[], float] = time.monotonic) -> None:
        self._weights, self._clock = weights, clock
        self._step: list[torch.Tensor] = []
        self._load_NE: torch.Tensor | None = None
        self.reset()

    def reset(self) -> None:
        self._sums: torch.Tensor | None = None
        self._loads: torch.Tensor | None = None
        self.windows = torch.zeros((), dtype=torch.int64)
        self.waited_s, self.flops, self.steps = 0.0, 0.0, 0
        self._started = self._clock()

    def add(self, sums: LossSums) -> None:
        """A micro-batch of the step under way."""
        self._step.append(torch.stack([getattr(sums, name).detach().double() for name in self._NAMES]))
        self._load_NE = sums.load_NE if self._load_NE is None else self._load_NE + sums.load_NE

    def step(self, *, counts: bool) -> None:
        """End of a step; one without an update leaves no trace in the losses."""
        self.steps += 1
        if counts:
            made = torch.stack(self._step).sum(0)
            self._sums = made if self._sums is None else self._sums + made
            assert self._load_NE is not None
            self._loads = self._load_NE if self._loads is None else self._loads + self._load_NE
        self._step, self._load_NE = [], None

    def line(
        self, before: LoaderState, after: LoaderState, *, peak_flops: float | None, **rest: Any
    ) -> LogLine:
        """Everything since the last reset, over all ranks: all of them must ask."""
        seconds = max(self._clock() - self._started, 1e-9)
        counted = torch.tensor([float(self.windows), self.flops], dtype=torch.float64)
        windows, flops = summed(counted).tolist()
        positions = after.positions - before.positions
        padding = after.padding - before.padding
        text = after.text - before.text
        losses: dict[str, Any] = self._losses()
        return LogLine(
            **losses,
            **rest,
            positions=after.positions,
            positions_per_s=round(positions / seconds, 1),
            audio_hours_per_hour=round(windows * WINDOW_US / US / seconds, 2),
            data_wait_ms=round(1e3 * self.waited_s / max(1, self.steps), 2),
            mfu=round(flops / seconds / peak_flops, 4) if peak_flops and flops else None,
            expert_load=self._load(),
            padding=round(padding / max(1, padding + positions), 4),
            text_spilled=round((after.text_spilled - before.text_spilled) / max(1, text), 4),
        )

    def _losses(self) -> dict[str, float | None]:
        some = torch.zeros(len(self._NAMES), dtype=torch.float64) if self._sums is None else self._sums
        sums = dict(zip(self._NAMES, summed(some.clone()).tolist(), strict=True))
        text = _part(sums["text_sum"], sums["text_weight"])
        audio = _part(sums["audio_sum"], sums["audio_weight"])
        balance = _part(sums["balance"], sums["positions"])
        router_z = _part(sums["router_z"], sums["positions"])
        weights = self._weights
        parts = (
            (weights.text, text),
            (weights.audio, audio),
            (weights.balance, balance),
            (weights.router_z, router_z),
        )
        loss = sum(weight * (value or 0.0) for weight, value in parts)
        found = {"text": text, "audio": audio, "balance": balance, "router_z": router_z}
        return {"loss": loss if sums["positions"] else None, **found}

    def _load(self) -> float | None:
        """Read after `_losses`; ranks differ in whether they have one only where there are no experts."""
        if self._loads is None or not self._loads.numel():
            return None
        load_NE = summed(self._loads.clone()).double()
        return round(float((load_NE.amax(1) / load_NE.mean(1).clamp_min(1e-9)).max()), 3)


def _part(total: float, weight: float) -> float | None:
    return total / weight if weight else None


class Log:
    """Where lines go; only the first rank has one. A full disk stops the log, not the run."""

    def __init__(self, run: Path, steps: int, step: int, talk: Callable[[str], None]) -> None:
        self._path, self._talk = run / LOG_NAME, talk
        self._cut(step)
        self._file = self._path.open("a", encoding="utf-8")
        self._board = _board(run)
        self._bar: tqdm[NoReturn] = tqdm(
            total=steps, initial=step, unit="step", disable=None, dynamic_ncols=True, leave=True
        )

    def _cut(self, step: int) -> None:
        """Drop lines of steps that will be done again, and one that was being written."""
        if not self._path.exists():
            return
        kept = []
        for line in self._path.read_text(encoding="utf-8").splitlines():
            try:
                if json.loads(line)["step"] <= step:
                    kept.append(line + "\n")
            except (ValueError, KeyError, TypeError):
                continue
        write_whole(self._path, "".join(kept).encode())

    def advance(self, step: int) -> None:
        self._bar.update(step - self._bar.n)

    def write(self, line: LogLine) -> None:
        plain = {name: _finite(value) for name, value in asdict(line).items()}
        try:
            self._file.write(json.dumps(plain, allow_nan=False) + "\n")
            self._file.flush()
        except OSError as error:
            self._talk(f"the log could not be written: {os.strerror(error.errno or 0)}")
        if self._board is not None:
            for name, value in plain.items():
                if name != "step" and value is not None:
                    self._board.add_scalar(name, value, line.step)
        self._bar.set_postfix_str(progress(line))

    def close(self) -> None:
        self._bar.close()
        with contextlib.suppress(OSError):  # said when it was written
            self._file.close()
        if self._board is not None:
            self._board.close()


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else value


def progress(line: LogLine) -> str:
    """The tail of the progress line."""
    parts = [
        f"text {_shown(line.text)}",
        f"audio {_shown(line.audio)}",
        f"{line.positions_per_s:.0f} pos/s",
        f"{line.audio_hours_per_hour:.1f} h/h",
        f"wait {line.data_wait_ms:.0f} ms",
    ]
    if line.mfu is not None:
        parts.append(f"MFU {100 * line.mfu:.1f} %")
    return ", ".join(parts)


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _board(run: Path) -> Any:
    """A TensorBoard writer, where it is installed."""
    if importlib.util.find_spec("tensorboard") is None:
        return None
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(run / "tensorboard"))
